// The bilinear resize of Pillow in 8-bit integers, rows first (Pillow 13 does columns first where they shrink much more,
// which is one level of 255 in some pixels), then (x / 255 - mean) / std from a table of 256 values a channel.
#include "preprocess.hpp"

#include <algorithm>
#include <cmath>

namespace {

constexpr int kBits = 22;  // of the fixed-point weights: 255 * 2^22 still fits 32 bits
constexpr float kLuma[] = {0.299f, 0.587f, 0.114f};

struct Window {
  int first;
  std::vector<int32_t> weights;
};

/// Where each output pixel looks and how much each input pixel weighs; wider when shrinking, so that it antialiases.
std::vector<Window> windows(int from, int to) {
  const double scale = static_cast<double>(from) / to, support = std::max(scale, 1.0);
  std::vector<Window> all;
  for (int place = 0; place < to; ++place) {
    const double center = (place + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(center - support + 0.5));
    const int last = std::min(from, static_cast<int>(center + support + 0.5));
    std::vector<double> raw;
    double sum = 0;
    for (int i = first; i < last; ++i) {
      const double distance = std::abs((i - center + 0.5) * (1.0 / support));
      raw.push_back(distance < 1 ? 1 - distance : 0);
      sum += raw.back();
    }
    Window window{first, {}};
    for (double weight : raw) window.weights.push_back(static_cast<int32_t>(0.5 + weight * (1.0 / sum) * (1 << kBits)));
    all.push_back(std::move(window));
  }
  return all;
}

uint8_t clip(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255)); }

void resize_rows(const uint8_t* rgb, int height, int width, int to, std::vector<uint8_t>& out) {
  const auto across = windows(width, to);
  out.resize(static_cast<size_t>(height) * to * 3);
  size_t place = 0;
  for (int y = 0; y < height; ++y) {
    for (const auto& window : across) {
      const uint8_t* at = rgb + (static_cast<size_t>(y) * width + window.first) * 3;
      int32_t sums[3] = {1 << (kBits - 1), 1 << (kBits - 1), 1 << (kBits - 1)};
      for (int32_t weight : window.weights) {
        for (int c = 0; c < 3; ++c) sums[c] += *at++ * weight;
      }
      for (int32_t sum : sums) out[place++] = clip(sum);
    }
  }
}

void resize_columns(const std::vector<uint8_t>& rgb, int height, int width, int to, std::vector<uint8_t>& out) {
  const size_t row = static_cast<size_t>(width) * 3;
  const auto down = windows(height, to);
  std::vector<int32_t> sums(row);
  out.resize(row * to);
  for (int y = 0; y < to; ++y) {
    std::fill(sums.begin(), sums.end(), 1 << (kBits - 1));
    const uint8_t* at = rgb.data() + down[y].first * row;
    for (int32_t weight : down[y].weights) {
      for (size_t x = 0; x < row; ++x) sums[x] += *at++ * weight;
    }
    std::transform(sums.begin(), sums.end(), out.begin() + y * row, clip);
  }
}

}  // namespace

Preprocessor::Preprocessor(int height, int width, std::string color, const std::vector<double>& mean,
                           const std::vector<double>& std)
    : height_(height), width_(width), color_(std::move(color)), mean_(mean.begin(), mean.end()), std_(std.begin(), std.end()) {
  for (int i = 0; i < 256; ++i) unit_.push_back(static_cast<float>(i) / 255.0f);
  for (size_t c = 0; c < mean_.size(); ++c) {
    tables_.emplace_back();
    for (float value : unit_) tables_[c].push_back((value - mean_[c]) / std_[c]);
  }
  input_.resize(mean_.size() * height_ * width_);
}

const std::vector<float>& Preprocessor::operator()(const uint8_t* rgb, int height, int width) {
  if (height != height_ || width != width_) {
    resize_rows(rgb, height, width, width_, narrow_);
    resize_columns(narrow_, height, width_, height_, small_);
    rgb = small_.data();
  }
  const size_t plane = static_cast<size_t>(height_) * width_;
  if (color_ == "gray") {
    for (size_t i = 0; i < plane; ++i) {
      float luma = 0;
      for (int c = 0; c < 3; ++c) luma += unit_[rgb[3 * i + c]] * kLuma[c];
      input_[i] = (luma - mean_[0]) / std_[0];
    }
    return input_;
  }
  for (int c = 0; c < 3; ++c) {
    const int from = color_ == "bgr" ? 2 - c : c;
    for (size_t i = 0; i < plane; ++i) input_[c * plane + i] = tables_[c][rgb[3 * i + from]];
  }
  return input_;
}
