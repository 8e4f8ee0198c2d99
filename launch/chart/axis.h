// An axis: where a value lies on it, and which values are written beside it.
#pragma once

#include <string>
#include <vector>

namespace gta {

enum class Scale : uint8_t { Linear, Logarithmic };

// Whether a value lies anywhere on such an axis: it is a number, above 0 where that is needed, and no larger than
// 1e150.
bool has_place(double value, Scale scale);

class Axis {
 public:
  // low and high have a place on the scale; they may be the same, or the wrong way round.
  // They lie at `from` and `to` on the page.
  Axis(double low, double high, Scale scale, double from, double to);

  double at(double value) const;
  double low() const { return low_; }
  double high() const { return high_; }
  // Both ends at values that are written: of a linear axis.
  void widen_to_ticks(int about);

  struct Tick {
    double value;
    std::string text;
  };
  std::vector<Tick> ticks(int about) const;

 private:
  double scaled(double value) const;
  std::vector<Tick> linear_ticks(int about) const;

  double low_, high_;
  Scale scale_;
  double from_, to_;
};

// "1.5M", "0.02", "3e-09": short, for axes. digits: of those with a unit, at least 6 of others.
std::string axis_number(double value, int digits = 4);

}  // namespace gta
