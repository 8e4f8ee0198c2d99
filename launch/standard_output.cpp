#include "launch/standard_output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/error.h"

namespace gta {

void keep_standard_streams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    // The lowest free number is the one that is closed. stdout is opened for reading, so that writing to it fails.
    if (::fcntl(descriptor, F_GETFD) < 0 && errno == EBADF)
      (void)!::open("/dev/null", descriptor == STDERR_FILENO ? O_WRONLY : O_RDONLY);
}

void flush_stdout() {
  errno = 0;
  const bool refused = std::fflush(stdout) != 0;
  const int code = errno;
  // Of an earlier write only that it failed is known.
  if (refused || std::ferror(stdout))
    fail("stdout", "the result cannot be written: {}",
         code ? std::strerror(code) : "an earlier part of it was refused");
}

}  // namespace gta
