// Results go to stdout; that none is lost in silence is seen to here.
#pragma once

namespace gta {

// First of all: no file that is opened later becomes stdin, stdout or stderr because the caller had closed it. Results
// for a closed stdout then fail, messages for a closed stderr go nowhere.
void keep_standard_streams();

// Hands what was printed so far to the system. Error(Failed) when any of it was refused: a full disk, a closed stdout.
void flush_stdout();

}  // namespace gta
