#include "core/error.h"

#include <gtest/gtest.h>

#include <functional>

#include "core/gemm.h"

namespace gta {
namespace {

ErrorKind kind_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.kind();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorKind::CheckFailed;
}

TEST(Errors, SayWhoseMistakeItIs) {
  EXPECT_EQ(kind_of([] { require(false, "eval", "expected {}", 1); }), ErrorKind::BadInput);
  EXPECT_EQ(kind_of([] { ensure(false, "gemm", "expected {}", 1); }), ErrorKind::Internal);
  EXPECT_EQ(kind_of([] { fail("disk", "is full"); }), ErrorKind::Failed);
  EXPECT_NO_THROW(require(true, "eval", "expected {}", 1));
  EXPECT_NO_THROW(ensure(true, "gemm", "expected {}", 1));
}

TEST(Errors, AnOpThatIsCalledWronglyIsNobodysInput) {
  const Tensor a = Tensor::zeros({2, 3}, DType::F32, {}), b = Tensor::zeros({2, 3}, DType::F32, {});
  EXPECT_EQ(kind_of([&] { gemm({.a = a, .b = b, .c = Tensor::zeros({2, 3}, DType::F32, {})}); }), ErrorKind::Internal);
  EXPECT_EQ(kind_of([&] { a.reshape({7}); }), ErrorKind::Internal);
  EXPECT_EQ(kind_of([&] { Tensor{}.data<float>(); }), ErrorKind::Internal);
}

TEST(Errors, WhatWasToBeRefusedBeforeIsAFailureUnderWay) {
  const Error damage(ErrorKind::BadInput, "train.h5", "is damaged"),
      memory(ErrorKind::OutOfMemory, "memory", "is full");
  EXPECT_EQ(damage.underway().kind(), ErrorKind::Failed);
  EXPECT_STREQ(damage.underway().what(), damage.what());
  EXPECT_EQ(memory.underway().kind(), ErrorKind::OutOfMemory);
}

}  // namespace
}  // namespace gta
