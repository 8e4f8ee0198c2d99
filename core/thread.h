// A thread, or an Error that says which one could not be started.
#pragma once

#include <functional>
#include <string>
#include <thread>

namespace gta {

// what: "reads ahead". Error(Failed) where the system has no room for another thread.
std::thread start_thread(const std::string& what, std::function<void()> run);

}  // namespace gta
