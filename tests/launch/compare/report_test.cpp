// What a comparison is written as, by the command; and folders that are damaged or hostile.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "launch/compare/numbers.h"
#include "launch/compare/report_json.h"
#include "launch/compare/tables.h"
#include "tests/launch/compare/made_run.h"

namespace gta {
namespace {

class Report : public MadeRuns {
 protected:
  // Exit code of `gta compare ARGUMENTS`; its words in out_ and err_.
  int gta_compare(const std::string& arguments) {
    const std::string command =
        std::string(GTA_BINARY) + " compare " + arguments + " >" + at("out") + " 2>" + at("err");
    const int status = std::system(command.c_str());
    out_ = read_file(at("out"));
    err_ = read_file(at("err"));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string runs() const { return at("g*-[123]"); }
  RunRecord read(const std::string& name) const { return read_run(at(name)); }

  std::string out_, err_;
};

TEST_F(Report, JsonHasEveryNumberAndNoFolderOfTheMachine) {
  const Comparison c = compare_runs(make_six([](MadeRun& run) {
    run.change = [](RunConfig& config) { config.train.init_from = "/home/me/secret/step-00000001"; };
  }));
  const std::string text = report_text(c);
  EXPECT_EQ(text.find("/home"), std::string::npos);
  EXPECT_EQ(text.find(folder_), std::string::npos);
  EXPECT_EQ(text.find("/data"), std::string::npos);
  const nlohmann::json json = nlohmann::json::parse(text);
  EXPECT_EQ(json["baseline"], "gqa");
  EXPECT_EQ(json["fair"], true);
  EXPECT_EQ(json["equal"], "none");
  EXPECT_EQ(json["variants"]["gqa"]["difference"], nullptr);
  const nlohmann::json& gta = json["variants"]["gta"];
  EXPECT_EQ(gta["difference"]["values"]["2"].get<double>(), c.variants[1].difference->of_pairs.values.at(2));
  EXPECT_EQ(gta["validation_loss"]["mean"].get<double>(), c.variants[1].validation_loss.mean);
  EXPECT_EQ(gta["parameters"].get<int64_t>(), c.variants[1].cost.parameters);
  EXPECT_EQ(gta["difference"]["p_holm"], 0.25);
  EXPECT_EQ(gta["difference"]["finding"], "lower");
  EXPECT_EQ(gta["configuration"]["train.init_from"], "\"step-00000001\"");
  EXPECT_EQ(gta["curves"]["training"]["mean"].size(), 20U);
  EXPECT_EQ(json["runs"][0]["validation"]["loss"].size(), 4U);
  EXPECT_EQ(json["runs"][0]["environment"]["command"], "gta train x");
  EXPECT_EQ(json["runs"][0]["data_hash"], hash_text(hash_bytes(std::string("data"))));
  EXPECT_EQ(json["cells"][5],
            nlohmann::json({{"variant", "gta"}, {"seed", 3}, {"folder", "gta-3"}, {"state", "done"}, {"reason", ""}}));
  EXPECT_TRUE(is_report(text));
  EXPECT_FALSE(is_report("{\"made_by\": 3}"));
}

TEST_F(Report, JsonHasNullWhereThereIsNoNumber) {
  MadeRun gqa, gta;
  gta.type = "gta";
  gta.bytes_per_token = gqa.bytes_per_token = 0;  // infinite bits per byte
  const nlohmann::json json = nlohmann::json::parse(report_text(compare_runs({make("a", gqa), make("b", gta)})));
  EXPECT_EQ(json["variants"]["gta"]["bits_per_byte"]["mean"], nullptr);
  EXPECT_EQ(json["variants"]["gta"]["difference"]["low"], nullptr);
  EXPECT_EQ(json["variants"]["gta"]["difference"]["p_t"], nullptr);
  EXPECT_EQ(json["variants"]["gta"]["difference"]["seeds_needed"], nullptr);
}

TEST_F(Report, TablesEscapeWhatNamesHold) {
  const std::vector<std::string> runs = make_six();
  CompareOptions options;
  for (size_t i = 0; i < runs.size(); ++i) options.cells[runs[i]] = {i < 3 ? "=1+2,\"x\"" : "a&b_c%\\{~^#$<|>", {}, ""};
  const Comparison c = compare_runs(runs, options);
  const std::string csv = table_csv(c), tex = table_tex(c);
  EXPECT_NE(csv.find("\r\n\"'=1+2,\"\"x\"\"\",3,"), std::string::npos) << csv;
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 3);
  EXPECT_NE(csv.find(",lower,yes\r\n"), std::string::npos) << csv;
  EXPECT_NE(tex.find("\\textbf{a\\&b\\_c\\%\\textbackslash{}\\{\\textasciitilde{}\\textasciicircum{}\\#\\$\\textless{}"
                     "\\textbar{}\\textgreater{}} & 3 &"),
            std::string::npos)
      << tex;
  EXPECT_NE(tex.find("$-0.0220$ $[-0.0245, -0.0195]$ & $0.00069$ & $0.00069$ \\\\"), std::string::npos) << tex;
  const std::string header = tex.substr(tex.find("variant &"), tex.find("\\midrule") - tex.find("variant &"));
  EXPECT_EQ(std::count(header.begin(), header.end(), '&'), 14);
  EXPECT_NE(tex.find("{lrrrrrrrrrrrrrr}"), std::string::npos);
}

TEST_F(Report, ACommandWritesAFolderOrNothing) {
  make_six();
  EXPECT_EQ(gta_compare(runs() + " --baseline gqa --name trial --out " + at("report")), 0) << err_;
  EXPECT_EQ(list_directory(at("report")),
            (std::vector<std::string>{"report.html", "report.json", "table.csv", "table.tex"}));
  EXPECT_EQ(out_.substr(0, 27), "2 variants, seeds 1, 2, 3. ");
  EXPECT_EQ(gta_compare(runs() + " --json --name trial --out " + at("report2")), 0) << err_;
  EXPECT_EQ(out_, read_file(at("report/report.json"))) << "the same runs, the same bytes";
  EXPECT_EQ(read_file(at("report2/report.json")), out_);

  EXPECT_EQ(gta_compare(runs() + " --out " + at("report")), 2);
  EXPECT_NE(err_.find("is there already"), std::string::npos) << err_;
  EXPECT_EQ(gta_compare(runs() + " --name second --replace --out " + at("report")), 0) << err_;
  EXPECT_NE(read_file(at("report/report.json")).find("\"name\":\"second\""), std::string::npos);
  publish_text(at("report/notes.txt"), "mine");
  EXPECT_EQ(gta_compare(runs() + " --replace --out " + at("report")), 2);
  EXPECT_NE(err_.find("holds notes.txt too"), std::string::npos) << err_;
  EXPECT_EQ(gta_compare(runs() + " --replace --out " + at("gqa-1")), 2);
  EXPECT_NE(err_.find("is no report"), std::string::npos) << err_;
  ASSERT_EQ(::symlink(at("report2").c_str(), at("link").c_str()), 0);
  EXPECT_EQ(gta_compare(runs() + " --replace --out " + at("link")), 2);
  EXPECT_EQ(gta_compare(runs() + " --replace"), 2);
  EXPECT_EQ(gta_compare(runs() + " --out " + at("no/such/folder")), 2);
  EXPECT_EQ(gta_compare(at("report") + " --out " + at("third")), 2) << "no run at all";
  EXPECT_FALSE(exists(at("third")));
  for (const std::string& name : list_directory(folder_)) EXPECT_EQ(name.find("tmp"), std::string::npos) << name;
}

TEST_F(Report, FoldersThatAreNoRunsOrNotWholeAreLeftOutWithTheirReason) {
  const std::vector<std::string> six = make_six();
  MadeRun made;
  made.seed = 4;
  const auto broken = [&](const std::string& name, const std::string& file, const std::string& text) {
    make(name, made);
    if (text == "-")
      remove_tree(at(name + "/" + file));
    else
      publish_text(at(name + "/" + file), text);
  };
  const std::string metrics = metrics_of(made);
  broken("no-metrics", "metrics.jsonl", "-");
  broken("no-config", "config.yaml", "-");
  broken("cut", "metrics.jsonl", metrics.substr(0, metrics.size() - 5));
  broken("empty", "metrics.jsonl", "");
  broken("other-version", "config.yaml", to_yaml(config_of(made)) + "key_of_tomorrow: 3\n");
  broken("yaml", "config.yaml", std::string("a: [1, 2\n\x01\xff") + std::string(5, '\0'));
  broken("huge-number", "config.yaml", "train: {steps: 99999999999999999999}\n");
  broken("noise", "metrics.jsonl", std::string("\xff\xfe{}{}{\n[[[[[[\n\0\0\n", 18) + std::string(3 << 20, 'x') + "\n");
  broken("scripts", "config.yaml", "name: \"<script>alert(1)</script>\"\n");
  make_directories(at("folder"));
  publish_text(at("file"), "text");
  ASSERT_EQ(::symlink("loop", at("loop").c_str()), 0);
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  make("piped", made);
  remove_tree(at("piped/metrics.jsonl"));
  ASSERT_EQ(::mkfifo(at("piped/metrics.jsonl").c_str(), 0600), 0);
  make("linked", made);
  remove_tree(at("linked/config.yaml"));
  ASSERT_EQ(::symlink("/dev/zero", at("linked/config.yaml").c_str()), 0);
  std::vector<std::string> all = six;
  const std::vector<std::string> bad = {"no-metrics",  "no-config", "cut",     "empty",  "other-version", "yaml",
                                        "huge-number", "noise",     "scripts", "folder", "file",          "loop",
                                        "pipe",        "piped",     "linked",  "absent"};
  for (const std::string& name : bad) all.push_back(at(name));
  all.push_back(at("\x1b[31mred\xff<script>"));
  const Comparison c = compare_runs(all);
  for (size_t i = 0; i < c.cells.size(); ++i) {
    EXPECT_EQ(c.cells[i].reason.empty(), i < six.size()) << c.cells[i].folder << ": " << c.cells[i].reason;
    EXPECT_EQ(printable(c.cells[i].reason, 5000), c.cells[i].reason);
    EXPECT_EQ(c.cells[i].reason.find(folder_), std::string::npos) << c.cells[i].reason;
  }
  EXPECT_EQ(c.cells.back().folder, "?[31mred?<script>");
  EXPECT_EQ(c.cells[8].state, "without validation") << "of the cut one the last row is lost";
  EXPECT_EQ(c.variants[0].runs.size(), 3U);
  EXPECT_NO_THROW(nlohmann::json::parse(report_text(c)));
  std::string arguments;
  for (const std::string& folder : all) arguments += "'" + folder + "' ";
  EXPECT_EQ(gta_compare(arguments), 0) << err_;
  EXPECT_EQ(out_.find('\x1b'), std::string::npos);
}

TEST_F(Report, OddRowsAreLeftOutAndCounted) {
  MadeRun made;
  make("odd", made);
  std::string text = metrics_of(made);
  const std::string first = text.substr(0, text.find('\n') + 1);
  StepRow beyond{21, 0, 1}, negative{-3, 0, 1};
  text.insert(first.size(), first + "nonsense\n" + to_line(beyond) + to_line(negative) + "{\"step\":7}\n");
  publish_text(at("odd/metrics.jsonl"), text + "{\"step\": 20, \"kind\": \"validation\"");
  const RunRecord record = read("odd");
  EXPECT_EQ(record.state, RunState::Done);
  EXPECT_EQ(record.final->loss, 3);
  EXPECT_EQ(record.training.size(), 20U);
  EXPECT_EQ(record.seconds, 10);
  EXPECT_EQ(record.remarks,
            (std::vector<std::string>{
                "metrics.jsonl: 1 lines are no rows, and are left out",
                "metrics.jsonl: 2 rows are of steps that the configuration does not have, and are left out",
                "metrics.jsonl: 1 rows of steps come late or a second time, and are left out",
                "metrics.jsonl: the last line is cut, and is left out"}));
}

TEST_F(Report, LongRunsKeepAsManyPointsAsShortOnes) {
  MadeRun made;
  made.steps = made.last_step = 3000;
  made.evaluate_every = 2;
  make("long", made);
  const RunRecord record = read("long");
  EXPECT_LE(record.validation.size(), kMostPoints);
  EXPECT_GT(record.validation.size(), kMostPoints / 2 - 1);
  EXPECT_LE(record.training.size(), kMostPoints);
  EXPECT_EQ(record.training.back().step, 3000);
  EXPECT_EQ(record.validation.back().step, 3000);
  // Steps 1 to 12 are one point, and its loss their mean.
  EXPECT_EQ(record.training[0].step, 12);
  EXPECT_NEAR(record.training[0].loss, 3 + 0.1 * (3000 - 6.5), 1e-9);
}

TEST(Text, IsPrintableAndWithoutFolders) {
  EXPECT_EQ(printable("a\x01"
                      "b\xff\n\xc3\xa9\xe2\x80\xaexyz"),
            "a?b??\xc3\xa9???xyz");
  EXPECT_EQ(printable("\xc3\xa9\xc3\xa9", 3), "\xc3\xa9...");
  EXPECT_EQ(printable("\xed\xa0\x80\xf4\x90\x80\x80\xc0\x80"), "?????????");
  EXPECT_EQ(without_directories("/home/me/bin/gta train --set data.train=[/data/a.h5, '/b/c/'] --out x/y /"),
            "gta train --set data.train=[a.h5, 'c'] --out x/y ");
  // In quotes and brackets folders may have spaces.
  EXPECT_EQ(
      without_directories("gta train '/my home/a b/c.yaml' --x [\"/my home/d\", \"/e f/\"]: [/g h/i j] is no file"),
      "gta train 'c.yaml' --x [\"d\", \"e f\"]: [i j] is no file");
  EXPECT_EQ(without_directories("it's '/a, [/b/c, /d/e] /f"), "it's 'a, [c, e] f");
  EXPECT_EQ(short_names({"/a/x/run", "/a/y/run", "/a/y/other/"}),
            (std::vector<std::string>{"x/run", "y/run", "y/other"}));
  EXPECT_EQ(short_names({"/a/b\xff", "/a/b\xfe"}), (std::vector<std::string>{"b?", "b? (2)"}));
  EXPECT_EQ(told_apart({"a", "a", "a (2)"}), (std::vector<std::string>{"a", "a (2)", "a (2) (2)"}));
}

}  // namespace
}  // namespace gta
