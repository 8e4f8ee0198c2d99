// SIGINT, SIGTERM and SIGUSR1 ask for a save at the end of the step; a second SIGINT ends the program at once with code 130.
#pragma once

namespace gta {

void install_signal_handlers();
// The signal that asked to stop, or 0.
int stop_requested();

}  // namespace gta
