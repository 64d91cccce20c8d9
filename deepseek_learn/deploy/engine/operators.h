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
      if (!is_constant) throw std::runtime_error("the weights of WinogradConv must be constants");
      return value;
    };
    const auto weights = constant(tensors_), bias = constant(tensors_ + 1);
    const auto shape = weights.GetTensorTypeAndShapeInfo().GetShape();
    convolution_ = std::make_unique<winograd::Convolution>(
        weights.GetTensorData<float>(), bias.GetTensorData<float>(), int(shape[0]), int(shape[1]),
        int(info.GetAttribute<int64_t>("tile")), form.relu);
  }

  void Compute(OrtKernelContext* context) {
    Ort::KernelContext call(context);
    const auto x = call.GetInput(0), rest = call.GetInput(tensors_ - 1);
    auto shape = x.GetTensorTypeAndShapeInfo().GetShape();
    const int height = int(shape[2]), width = int(shape[3]), first = int(shape[1]);
    shape[1] = convolution_->outputs();
    Work work{convolution_.get(),
              {x.GetTensorData<float>(), rest.GetTensorData<float>(), first,
               call.GetOutput(0, shape).GetTensorMutableData<float>(), height, width},
              convolution_->parts(height, width)};
    const size_t count = shape[0] * work.parts.size();
    call.ParallelFor(&Work::run, count, count, &work);
  }

 private:
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

struct WinogradOperator : Ort::CustomOpBase<WinogradOperator, WinogradKernel> {
  const WinogradForm form;
  explicit WinogradOperator(const WinogradForm& chosen) : form(chosen) {}

  void* CreateKernel(const OrtApi&, const OrtKernelInfo* info) const {
    return new WinogradKernel(info, form);
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
    if (asked && std::string(asked) == "off") return;
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
