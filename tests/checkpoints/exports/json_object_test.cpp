#include "checkpoints/exports/json_object.h"

#include <gtest/gtest.h>

#include <functional>

#include "core/error.h"

namespace gta {
namespace {

std::string refusal(const std::function<void()>& reader) {
  try {
    reader();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::BadInput);
    return error.what();
  }
  return "it is taken";
}

TEST(JsonObject, GivesEachValueByItsType) {
  const JsonObject json = JsonObject::parse(
      R"({"n":7,"x":1e-5,"yes":true,"t":"a\nb","list":["a","b"],"o":{"inner":[[1]]},"none":null})", "f", 4);
  EXPECT_EQ(json.integer("n", 0, 7), 7);
  EXPECT_EQ(json.number("n", 7, 7), 7);
  EXPECT_EQ(json.number("x", 0, 1), 1e-5);
  EXPECT_TRUE(json.boolean("yes"));
  EXPECT_EQ(json.text("t"), "a\nb");
  EXPECT_EQ(json.texts("list"), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(json.object("o").keys(), std::vector<std::string>{"inner"});
  EXPECT_EQ(json.keys(), (std::vector<std::string>{"list", "n", "none", "o", "t", "x", "yes"}));
  EXPECT_TRUE(json.has("n"));
  EXPECT_FALSE(json.has("none"));
  EXPECT_FALSE(json.has("absent"));
  EXPECT_TRUE(json.is("n", 7.0));
  EXPECT_TRUE(json.is("yes", true));
  EXPECT_FALSE(json.is("yes", 1.0)) << "a word is no number";
  EXPECT_FALSE(json.is("none", false));
}

TEST(JsonObject, WhatIsThereInsteadIsSaidOnOneLine) {
  const JsonObject json = JsonObject::parse(
      R"({"n":"7","big":18446744073709551615,"huge":123456789012345678901234567890,"x":7.5,"o":{"line\nbreak":1},)"
      R"("long":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"})",
      "c.json", 3);
  for (const auto& [key, got] : {std::pair{"n", "\"7\""},
                                 {"big", "18446744073709551615"},
                                 {"huge", "1.2345678901234568e+29"},
                                 {"x", "7.5"},
                                 {"absent", "nothing"}})
    EXPECT_EQ(refusal([&, key = key] { json.integer(key, 1, 9); }),
              fmt::format("[c.json] {}: expected a whole number from 1 to 9, got {}", key, got));
  EXPECT_EQ(refusal([&] { json.number("n", 0, 1); }), "[c.json] n: expected a number from 0 to 1, got \"7\"");
  EXPECT_EQ(refusal([&] { json.number("x", 0, 1); }), "[c.json] x: expected a number from 0 to 1, got 7.5");
  EXPECT_EQ(refusal([&] { json.boolean("n"); }), "[c.json] n: expected true or false, got \"7\"");
  EXPECT_EQ(refusal([&] { json.text("x"); }), "[c.json] x: expected a text, got 7.5");
  EXPECT_EQ(refusal([&] { json.texts("n"); }), "[c.json] n: expected a list of texts, got \"7\"");
  EXPECT_EQ(refusal([&] { json.object("n"); }), "[c.json] n: expected an object, got \"7\"");
  EXPECT_EQ(refusal([&] { json.object("o").text("line\nbreak"); }), "[c.json] o.line\\nbreak: expected a text, got 1");
  EXPECT_NE(refusal([&] { json.boolean("long"); }).find("aaa..."), std::string::npos);
}

TEST(JsonObject, HostileTextsAreRefusedWithTheReason) {
  const auto refused = [](const std::string& text) { return refusal([&] { JsonObject::parse(text, "c.json", 2); }); };
  EXPECT_EQ(refused(R"({"a":[1]})"), "it is taken");
  for (const char* text : {"", "{", "{\"a\":}", "{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":1e999}", "{\"a\":\"\xff\"}",
                           "{} {}", "{\"a\":1,}", "{'a':1}"})
    EXPECT_EQ(refused(text), "[c.json] is damaged: it is no JSON") << text;
  EXPECT_EQ(refused("[1]"), "[c.json] is [1]: expected a JSON object");
  EXPECT_EQ(refused("7"), "[c.json] is 7: expected a JSON object");
  EXPECT_EQ(refused(R"({"a":1,"b":2,"a":1})"), "[c.json] has \"a\" twice in one object");
  EXPECT_EQ(refused(R"({"x":{"b":1,"b":1}})"), "[c.json] has \"b\" twice in one object");
  EXPECT_EQ(refused(R"({"x":{"a":1},"a":1})"), "it is taken") << "of two objects";
  EXPECT_EQ(refused(R"({"a":[[1]]})"), "[c.json] nests deeper than 2 levels");
  EXPECT_EQ(refused("{\"a\":" + std::string(1'000'000, '[')), "[c.json] nests deeper than 2 levels");
}

}  // namespace
}  // namespace gta
