// The model on OpenVINO, with the settings that edgesmith measures with.
#pragma once

#include <map>
#include <openvino/openvino.hpp>
#include <string>
#include <utility>
#include <vector>

class Model {
 public:
  /// folder: where kit.json and the model lie.
  explicit Model(const std::string& folder, int threads = 1);

  /// Copies `bytes` into the input called `name`.
  void set_input(const std::string& name, const void* data, size_t bytes, const std::vector<size_t>& shape);
  void run() { request_.infer(); }
  /// The output called `name`; its memory is the model's, until the next run.
  ov::Tensor output(const std::string& name);

 private:
  ov::Core core_;
  ov::CompiledModel compiled_;
  ov::InferRequest request_;
};

/// The `count` best classes of the first output with their softmax shares, by place; empty without one value a label.
std::vector<std::pair<size_t, double>> best(const float* scores, size_t size, size_t labels, size_t count = 5);
