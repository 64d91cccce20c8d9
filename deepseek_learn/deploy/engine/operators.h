// Our own kernels for ONNX Runtime.
//
// A model file defines each of these operators as a function of standard operators, so it also
// runs without this file: ONNX Runtime uses a kernel if there is one and the function otherwise.
#pragma once

#include <onnxruntime_cxx_api.h>

#include "winograd.h"

// The inputs of a layer: one or two tensors that are joined along the channels, weights, bias.
struct WinogradForm {
  const char* name;
  int tensors;
  bool relu;
};

class WinogradKernel {
 public:
  WinogradKernel(const OrtKernelInfo* facts, const WinogradForm& form) : tensors_(form.tensors) {
    const Ort::ConstKernelInfo info(facts);
    const auto constant = [&](int index) {
      int is_constant = 0;
      const auto value = info.GetTensorConstantInput(index, &is_constant);
      require(is_constant, "its weights must be constants");
      return value;
    };
    const auto weights = constant(tensors_), bias = constant(tensors_ + 1);
    const auto shape = shape_of(weights);
    const auto tile = info.GetAttribute<int64_t>("tile");
    require(shape.size() == 4 && shape[2] == 3 && shape[3] == 3 && shape[0] > 0 && shape[1] > 0,
            "its weights must be [outputs, inputs, 3, 3]");
    require(shape_of(bias) == Shapes{shape[0]}, "its bias must be [outputs]");
    require(tile == 2 || tile == 4, "tile must be 2 or 4");
    convolution_ = std::make_unique<winograd::Convolution>(
        weights.GetTensorData<float>(), bias.GetTensorData<float>(), int(shape[0]), int(shape[1]),
        int(tile), form.relu);
  }

  OrtStatusPtr ComputeV2(OrtKernelContext* context) noexcept {
    return status_of([&] { compute(context); });
  }

  // Turns an exception into the status that ONNX Runtime expects.
  template <typename F>
  static OrtStatusPtr status_of(F action) noexcept {
    try {
      action();
      return nullptr;
    } catch (const std::exception& error) {
      return Ort::GetApi().CreateStatus(ORT_INVALID_ARGUMENT, error.what());
    }
  }

 private:
  using Shapes = std::vector<int64_t>;

  static void require(bool condition, const char* what) {
    if (!condition) throw std::runtime_error(std::string("WinogradConv: ") + what);
  }
  static Shapes shape_of(const Ort::ConstValue& value) {
    return value.GetTensorTypeAndShapeInfo().GetShape();
  }

  void compute(OrtKernelContext* context) const {
    Ort::KernelContext call(context);
    const auto x = call.GetInput(0), rest = call.GetInput(tensors_ - 1);
    Shapes shape = shape_of(x);
    const Shapes other = shape_of(rest);
    require(shape.size() == 4 && other.size() == 4, "its inputs must be [B, C, height, width]");
    require(shape[0] == other[0] && shape[2] == other[2] && shape[3] == other[3],
            "its inputs must have the same size");
    require((tensors_ == 1 ? 0 : other[1]) + shape[1] == convolution_->inputs(),
            "its inputs and weights have different numbers of channels");
    const int height = int(shape[2]), width = int(shape[3]), first = int(shape[1]);
    shape[1] = convolution_->outputs();
    Work work{convolution_.get(),
              {x.GetTensorData<float>(), rest.GetTensorData<float>(), first,
               call.GetOutput(0, shape).GetTensorMutableData<float>(), height, width},
              convolution_->parts(height, width)};
    const size_t count = shape[0] * work.parts.size();
    if (count) call.ParallelFor(&Work::run, count, count, &work);
  }

  struct Work {
    const winograd::Convolution* convolution;
    winograd::Picture pictures;  // the first of the batch
    std::vector<winograd::Part> parts;

    static void run(void* self, size_t index) {
      const Work& work = *static_cast<Work*>(self);
      winograd::Picture picture = work.pictures;
      const size_t image = index / work.parts.size();
      const size_t step = image * picture.height * picture.width;
      picture.x += step * picture.first;
      picture.rest += step * (work.convolution->inputs() - picture.first);
      picture.y += step * work.convolution->outputs();
      work.convolution->run(picture, work.parts[index % work.parts.size()]);
    }
  };
  int tensors_;
  std::unique_ptr<winograd::Convolution> convolution_;
};

struct WinogradOperator : Ort::CustomOpBase<WinogradOperator, WinogradKernel, true> {
  const WinogradForm form;
  explicit WinogradOperator(const WinogradForm& chosen) : form(chosen) {}

  OrtStatusPtr CreateKernelV2(const OrtApi&, const OrtKernelInfo* info, void** kernel) const {
    return WinogradKernel::status_of([&] { *kernel = new WinogradKernel(info, form); });
  }
  const char* GetName() const { return form.name; }
  size_t GetInputTypeCount() const { return form.tensors + 2; }
  ONNXTensorElementDataType GetInputType(size_t) const {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }
  size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetOutputType(size_t) const {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }
};

// Must outlive the session.
class OwnOperators {
 public:
  explicit OwnOperators(Ort::SessionOptions& settings) {
    const char* asked = std::getenv("ENGINE_WINOGRAD");
    const std::string name = asked ? asked : "";
    if (name == "off") return;
    if (!name.empty() && name != "portable" && name != "avx2" && name != "avx512")
      throw std::runtime_error("ENGINE_WINOGRAD must be off, portable, avx2 or avx512; got " + name);
    for (WinogradOperator& each : operators_) domain_.Add(&each);
    settings.Add(domain_);
  }

 private:
  WinogradOperator operators_[4]{WinogradOperator({"WinogradConv", 1, false}),
                                 WinogradOperator({"WinogradConvRelu", 1, true}),
                                 WinogradOperator({"WinogradConcatConv", 2, false}),
                                 WinogradOperator({"WinogradConcatConvRelu", 2, true})};
  Ort::CustomOpDomain domain_{"deepseek_learn"};
};
