// From RGB bytes to the model's input, bit for bit as edgesmith does it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

class Preprocessor {
 public:
  Preprocessor(int height, int width, std::string color, const std::vector<double>& mean, const std::vector<double>& std);

  /// rgb: height x width x 3 bytes. Returns (1, C, H, W); the memory is the preprocessor's, until the next call.
  const std::vector<float>& operator()(const uint8_t* rgb, int height, int width);

 private:
  int height_, width_;
  std::string color_;
  std::vector<float> mean_, std_, unit_;
  std::vector<std::vector<float>> tables_;
  std::vector<uint8_t> narrow_, small_;
  std::vector<float> input_;
};
