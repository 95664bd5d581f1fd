#include "model.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>

#include "model_facts.hpp"

Model::Model(const std::string& folder, int threads) {
  const ov::AnyMap settings{{"INFERENCE_PRECISION_HINT", facts::kPrecision},
                            {"INFERENCE_NUM_THREADS", threads},
                            {"PERFORMANCE_HINT", "LATENCY"},
                            {"NUM_STREAMS", 1}};
  compiled_ = core_.compile_model(core_.read_model(folder + "/" + facts::kModel), "CPU", settings);
  request_ = compiled_.create_infer_request();
}

void Model::set_input(const std::string& name, const void* data, size_t bytes, const std::vector<size_t>& shape) {
  ov::Tensor tensor = request_.get_tensor(name);
  tensor.set_shape(shape);
  if (tensor.get_byte_size() != bytes) throw std::invalid_argument("input " + name + " has another size");
  std::memcpy(tensor.data(), data, bytes);
}

ov::Tensor Model::output(const std::string& name) { return request_.get_tensor(name); }

std::vector<std::pair<size_t, double>> best(const float* scores, size_t size, size_t labels, size_t count) {
  if (labels == 0 || size != labels) return {};
  const double top = *std::max_element(scores, scores + size);
  double sum = 0;
  std::vector<std::pair<size_t, double>> ranked;
  for (size_t i = 0; i < size; ++i) {
    ranked.emplace_back(i, std::exp(scores[i] - top));
    sum += ranked.back().second;
  }
  for (auto& one : ranked) one.second /= sum;
  count = std::min(count, size);
  const auto better = [](const auto& a, const auto& b) { return a.second > b.second; };
  std::partial_sort(ranked.begin(), ranked.begin() + count, ranked.end(), better);
  ranked.resize(count);
  return ranked;
}
