#include "launch/verify.h"

#include <fmt/format.h>

#include "core/gemm.h"
#include "launch/commands/commands.h"

namespace gta {

int run_verify(const VerifyCommand& command) {
  const Device device = device_from_name(command.device);
  std::vector<DType> dtypes;
  for (const std::string& name : command.dtypes) dtypes.push_back(dtype_from_name(name));
  try {
    cpu::check_products();
  } catch (const Error& error) {
    fmt::print("FAILS {}\n", error.what());
    return kExitCheckFailed;
  }
  bool all = true;
  for (const std::string& path : command.fixtures)
    for (const VerifyReport& report : verify_fixture(path, dtypes, device)) {
      all &= report.holds();
      fmt::print("{} {}: {}, {} parameters, {} on {}\n", report.holds() ? "holds" : "FAILS", path, report.attention,
                 report.parameters, name_of(report.dtype), name_of(report.device));
      for (const VerifyRow& row : report.rows)
        fmt::print("  {:<5} {:<17} error {:.1e}, allowed {:.1e}{}{}\n", row.holds() ? "ok" : "FAIL", row.what,
                   row.error, row.tolerance, row.worst.empty() ? "" : "  worst: ", row.worst);
    }
  return all ? 0 : kExitCheckFailed;
}

}  // namespace gta
