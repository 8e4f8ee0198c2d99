// A thread, or an Error that says which one could not be started.
#pragma once

#include <functional>
#include <string>
#include <system_error>
#include <thread>

namespace gta {

// Error(Failed): the system has no room for the thread that does `what`.
[[noreturn]] void fail_to_start_thread(const std::string& what, const std::error_code& why);

// what: "reads ahead". Error(Failed) where the system has no room for another thread.
std::thread start_thread(const std::string& what, std::function<void()> run);

}  // namespace gta
