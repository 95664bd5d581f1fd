// kit selftest FOLDER | kit bench FOLDER [RUNS] [THREADS]: one JSON object on stdout.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <map>
#include <stdexcept>

#include "model.hpp"
#include "model_facts.hpp"
#include "preprocess.hpp"

namespace {

using Bytes = std::vector<char>;

Bytes read(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw std::runtime_error("cannot read " + file);
  return Bytes(std::istreambuf_iterator<char>(stream), {});
}

template <typename T>
double difference_as(const void* found, const void* wanted, size_t count) {
  double worst = 0;
  for (size_t i = 0; i < count; ++i) {
    const double one = std::abs(double(static_cast<const T*>(found)[i]) - double(static_cast<const T*>(wanted)[i]));
    if (!(one <= worst)) worst = std::isnan(one) ? std::numeric_limits<double>::infinity() : one;
  }
  return worst;
}

/// The largest absolute difference; another size is infinitely far.
double difference(const void* found, size_t bytes, const Bytes& wanted, const std::string& dtype) {
  if (bytes != wanted.size()) return std::numeric_limits<double>::infinity();
  if (dtype == "float32") return difference_as<float>(found, wanted.data(), bytes / 4);
  if (dtype == "float64") return difference_as<double>(found, wanted.data(), bytes / 8);
  if (dtype == "int32") return difference_as<int32_t>(found, wanted.data(), bytes / 4);
  if (dtype == "int64") return difference_as<int64_t>(found, wanted.data(), bytes / 8);
  if (dtype == "uint8") return difference_as<uint8_t>(found, wanted.data(), bytes);
  throw std::runtime_error("numbers of type " + dtype);
}

bool judged(const char* kind, size_t place, double found, double allowed) {
  const bool passed = found <= allowed;
  std::cout << "  {\"name\": \"" << kind << " " << place
            << "\", \"difference\": " << (std::isfinite(found) ? found : 1e308) << ", \"allowed\": " << allowed
            << ", \"passed\": " << (passed ? "true" : "false") << "}";
  return passed;
}

Preprocessor preprocessor() {
  return Preprocessor(facts::kHeight, facts::kWidth, facts::kColor, facts::kMean, facts::kStd);
}

void feed_golden(Model& model, const std::string& folder) {
  for (const auto& one : facts::kFeed) {
    const Bytes data = read(folder + "/" + one.file);
    model.set_input(one.name, data.data(), data.size(), one.shape);
  }
}

int selftest(const std::string& folder) {
  Model model(folder);
  bool passed = !facts::kReference.empty();
  std::cout << "{\"rows\": [\n";
  if (facts::kTakesPictures) {
    const Bytes picture = read(folder + "/" + facts::kPicture.file);
    auto prepare = preprocessor();
    const auto& shape = facts::kPicture.shape;
    const auto& found = prepare(reinterpret_cast<const uint8_t*>(picture.data()), int(shape[0]), int(shape[1]));
    const Bytes wanted = read(folder + "/" + facts::kPrepared.file);
    passed &= judged("preprocessing", 0, difference(found.data(), found.size() * 4, wanted, "float32"), facts::kPrepared.allowed);
    std::cout << ",\n";
  }
  feed_golden(model, folder);
  model.run();
  for (size_t i = 0; i < facts::kReference.size(); ++i) {
    const auto& one = facts::kReference[i];
    const ov::Tensor found = model.output(one.name);
    const double far = difference(found.data(), found.get_byte_size(), read(folder + "/" + one.file), one.dtype);
    passed &= judged("output", i, far, one.allowed);
    std::cout << (i + 1 < facts::kReference.size() ? ",\n" : "\n");
  }
  std::cout << "], \"passed\": " << (passed ? "true" : "false") << "}" << std::endl;
  return passed ? 0 : 1;
}

class Clock {
 public:
  void start() { last_ = std::chrono::steady_clock::now(); }
  void lap(const char* part) {
    const auto now = std::chrono::steady_clock::now();
    samples_[part].push_back(std::chrono::duration<double, std::milli>(now - last_).count());
    last_ = now;
  }
  void forget() { samples_.clear(); }
  void print() const {
    std::cout << "{";
    const char* before = "";
    for (auto [part, samples] : samples_) {
      std::sort(samples.begin(), samples.end());
      const auto at = [&](double q) { return samples[std::min(samples.size() - 1, size_t(q * samples.size()))]; };
      std::cout << before << "\"" << part << "\": {\"p50\": " << at(0.5) << ", \"p90\": " << at(0.9)
                << ", \"runs\": " << samples.size() << "}";
      before = ",\n ";
    }
    std::cout << "}" << std::endl;
  }

 private:
  std::chrono::steady_clock::time_point last_;
  std::map<std::string, std::vector<double>> samples_;
};

int bench(const std::string& folder, int runs, int threads) {
  Model model(folder, threads);
  auto prepare = facts::kTakesPictures ? preprocessor() : Preprocessor(0, 0, "", {}, {});
  feed_golden(model, folder);
  Clock clock;
  const int warmup = std::max(5, runs / 10);
  for (int i = -warmup; i < runs; ++i) {
    if (i == 0) clock.forget();
    clock.start();
    if (facts::kTakesPictures) {
      const Bytes picture = read(folder + "/" + facts::kPicture.file);
      clock.lap("decode");
      const auto& shape = facts::kPicture.shape;
      const auto& input = prepare(reinterpret_cast<const uint8_t*>(picture.data()), int(shape[0]), int(shape[1]));
      clock.lap("preprocess");
      model.set_input(facts::kFeed[0].name, input.data(), input.size() * 4, facts::kPrepared.shape);
      clock.lap("copy");
    }
    model.run();
    clock.lap("run");
    const auto& first = facts::kReference[0];
    const ov::Tensor found = model.output(first.name);
    if (first.dtype == "float32") best(found.data<float>(), found.get_size(), facts::kLabels.size());
    clock.lap("postprocess");
  }
  clock.print();
  return 0;
}

}  // namespace

int main(int count, char** words) {
  try {
    const std::string verb = count > 1 ? words[1] : "", folder = count > 2 ? words[2] : "model";
    if (verb == "selftest") return selftest(folder);
    if (verb == "bench") return bench(folder, count > 3 ? std::stoi(words[3]) : 200, count > 4 ? std::stoi(words[4]) : 1);
    std::cerr << "kit selftest FOLDER | kit bench FOLDER [RUNS] [THREADS]\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 3;
  }
}
