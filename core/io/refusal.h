// Which of the system's refusals are about a name that was given, and not about the moment.
#pragma once

namespace gta {

// Whether an errno says that nothing can be made under a name, now or later: its place is read-only, or no folder. Not
// that there is no room, no memory, or a disk in trouble.
bool refuses_the_name(int code);

}  // namespace gta
