// TensorBoard's event files: the rows of metrics.jsonl as scalars.
//
//   FOLDER/events.out.tfevents.NNNNNN   one for each start of the run, in the order of their numbers
//   record   u64 length, u32 masked crc32c of the length, data, u32 masked crc32c of the data; little-endian
//   data     protobuf Event {1 wall_time: double, 2 step: int64, and one of
//            3 file_version: text, 5 summary, 7 session_log}
//            summary {1 value {1 tag: text, 2 simple_value: float} ...}, session_log {1 status: START = 1}
//
// A resumed run cuts the earlier files back to its step and begins a new file with START, upon which a TensorBoard that
// is already open forgets what it had read of later steps.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "launch/append_file.h"
#include "launch/metrics.h"

namespace gta {

class TensorBoard {
 public:
  // What earlier processes wrote of steps after `step`, and a record that a kill left torn, is removed.
  TensorBoard(const std::string& folder, int64_t step, MayWrite may_write = {});

  // Every number of a row of metrics.jsonl at the row's step: "loss" -> train/loss, "memory_bytes" -> memory/bytes,
  // "validation_loss" -> validation/loss, "loss/position/1" -> validation/loss/position/1; "tokens" goes with the row's
  // kind, train/ or validation/.
  void add(const MetricsRow& row);
  void flush() { file_->flush(); }
  bool complete() const { return file_->complete(); }  // whether all that was added is in the file

 private:
  std::unique_ptr<AppendFile> file_;
};

// What tells a run from others beside it, for TensorBoard's HParams page: FOLDER/events.out.tfevents.000000, which no
// start of the run touches. A value that is a number is one there.
//
//   summary value {1 tag: "_hparams_/session_start_info", 8 tensor: of nothing, 9 metadata {1 plugin {1 name:
// "hparams",
//                  2 content {1 version: 0, 3 start info {1 {1 key, 2 value} ..., 4 group, 5 start time}}}}}
void write_hyperparameters(const std::string& folder, const std::string& group,
                           const std::map<std::string, std::string>& values);

}  // namespace gta
