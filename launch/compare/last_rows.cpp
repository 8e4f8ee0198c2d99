#include "launch/compare/last_rows.h"

#include <cmath>

namespace gta {
namespace {

template <class Row>
void keep(const Row& row, int64_t& step, std::map<std::string, double>& values) {
  step = row.step;
  values = row.values;
  std::erase_if(values, [](const auto& value) {
    return !std::isfinite(value.second) || value.first.find('/') == std::string::npos;
  });
}

}  // namespace

void LastRows::take(const MetricsRow& row) {
  if (const auto* of_validation = std::get_if<BreakdownRow>(&row)) keep(*of_validation, breakdown_step, breakdown);
  if (const auto* of_step = std::get_if<DiagnosisRow>(&row)) keep(*of_step, diagnosis_step, diagnosis);
}

}  // namespace gta
