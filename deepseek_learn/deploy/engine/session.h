// Runs a model with ONNX Runtime, which is opened at run time, or with OpenVINO.
#pragma once

#ifdef ENGINE_OPENVINO
#include <openvino/openvino.hpp>
#else
#define ORT_API_MANUAL_INIT
#include <dlfcn.h>
#include <fcntl.h>
#include <onnxruntime_cxx_api.h>
#include <unistd.h>

#include "operators.h"
#endif

#include "readers.h"

// ---------------------------------------------------------------- the runtime

struct Port {  // an input or output of the model; -1 in the shape means any size
  std::string name;
  Type type;
  Shape shape;
};

struct Options {
  fs::path model;
  std::string provider = "cpu", library, precision = "fp32";
  int threads = 1, device = 0;
};

#ifdef ENGINE_OPENVINO

class Session {
 public:
  std::vector<Port> inputs, outputs;
  std::string runtime = std::string("OpenVINO ") + ov::get_openvino_version().buildNumber;
  Preparation preparation;

  explicit Session(const Options& options) {
    if (options.provider != "cpu")
      fail("--provider must be cpu for OpenVINO; got ", options.provider, ".");
    if (options.precision != "fp32" && options.precision != "bf16")
      fail("--precision must be fp32 or bf16 for OpenVINO; got ", options.precision, ".");
    const auto model = core_.read_model(options.model.string());
    preparation = read_preparation([&](const char* key) {
      const std::vector<std::string> path{"framework", key};
      return model->has_rt_info(path) ? std::optional(model->get_rt_info<std::string>(path))
                                      : std::nullopt;
    });
    const ov::element::Type precision =
        options.precision == "bf16" ? ov::element::bf16 : ov::element::f32;
    const ov::AnyMap wanted{
        {ov::inference_num_threads.name(), options.threads},
        {ov::hint::inference_precision.name(), precision},
        {ov::hint::performance_mode.name(), ov::hint::PerformanceMode::LATENCY},
        // else OpenVINO rounds the inputs of packed weights to INT8
        {ov::hint::dynamic_quantization_group_size.name(), uint64_t{0}}};
    compiled_ = core_.compile_model(model, "CPU", wanted);
    request_ = compiled_.create_infer_request();
    for (const auto& port : compiled_.inputs()) inputs.push_back(described(port));
    for (const auto& port : compiled_.outputs()) outputs.push_back(described(port));
  }

  std::vector<Tensor> run(std::vector<Tensor>& given) {
    for (size_t i = 0; i < given.size(); ++i) {
      const ov::Shape shape(given[i].shape.begin(), given[i].shape.end());
      request_.set_input_tensor(i, ov::Tensor(element(given[i].type), shape, given[i].data()));
    }
    request_.infer();
    std::vector<Tensor> found;
    for (size_t i = 0; i < outputs.size(); ++i) {
      const ov::Tensor value = request_.get_output_tensor(i);
      const auto shape = value.get_shape();
      found.push_back(
          make_tensor(outputs[i].type, Shape(shape.begin(), shape.end()), outputs[i].name));
      found.back().fill(value.data());
    }
    return found;
  }

 private:
  ov::Core core_;
  ov::CompiledModel compiled_;
  ov::InferRequest request_;

  static ov::element::Type element(Type type) {
    return std::map<Type, ov::element::Type>{{Type::f32, ov::element::f32},
                                             {Type::u8, ov::element::u8},
                                             {Type::i64, ov::element::i64},
                                             {Type::i32, ov::element::i32},
                                             {Type::b8, ov::element::boolean}}
        .at(type);
  }

  static Port described(const ov::Output<const ov::Node>& port) {
    Shape shape;
    for (const auto& size : port.get_partial_shape())
      shape.push_back(size.is_static() ? size.get_length() : -1);
    for (const TypeFacts& known : kTypes)
      if (element(known.type) == port.get_element_type())
        return {port.get_names().empty() ? "" : port.get_any_name(), known.type, shape};
    fail("the model's tensor ", port.get_any_name(), " has the type ",
         port.get_element_type().get_type_name(),
         ", but the engine accepts only float32, uint8, int64, int32 and bool.");
  }
};

#else

// Discards everything that is written to stderr during the lifetime of the object.
struct Silence {
  int kept = dup(2);
  Silence() {
    const int nowhere = open("/dev/null", O_WRONLY);
    if (nowhere >= 0) dup2(nowhere, 2), close(nowhere);
  }
  ~Silence() {
    if (kept >= 0) dup2(kept, 2), close(kept);
  }
  Silence(const Silence&) = delete;
};

// Opens the library, requests the API version of the headers that the engine was compiled with,
// and returns the version of the library.
std::string open_library(const std::string& chosen) {
  const char* named = chosen.empty() ? std::getenv("ORT_LIBRARY") : chosen.c_str();
#ifdef __APPLE__
  const std::vector<std::string> usual{"libonnxruntime.dylib"};
#else
  const std::vector<std::string> usual{"libonnxruntime.so.1", "libonnxruntime.so"};
#endif
  const auto names = named ? std::vector<std::string>{named} : usual;
  void* handle = nullptr;
  std::string name, why;
  for (size_t i = 0; i < names.size() && !handle; ++i) {
    handle = dlopen((name = names[i]).c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (!handle && why.empty()) why = dlerror();
  }
  if (!handle)
    fail("ONNX Runtime cannot be opened (set --library or ORT_LIBRARY to its path): ", why, ".");
  auto* base = reinterpret_cast<const OrtApiBase* (*)()>(dlsym(handle, "OrtGetApiBase"));
  if (!base) fail(name, " is not the ONNX Runtime library: it does not export OrtGetApiBase.");
  const OrtApi* api = base()->GetApi(ORT_API_VERSION);
  if (!api)
    fail(name, " is ONNX Runtime ", base()->GetVersionString(), ", but this engine requires 1.",
         ORT_API_VERSION, " or newer.");
  Ort::InitApi(api);
  return base()->GetVersionString();
}

class Session {
 public:
  std::vector<Port> inputs, outputs;
  std::string runtime;
  Preparation preparation;

  explicit Session(const Options& options) {
    if (options.precision != "fp32" && options.provider != "tensorrt")
      fail("--precision must be fp32 for the provider ", options.provider,
           ", which reads the precision from the model; got ", options.precision, ".");
    const std::string version = open_library(options.library);
    runtime = "ONNX Runtime " + version;
    env_.emplace(ORT_LOGGING_LEVEL_ERROR, "engine");
    Ort::SessionOptions settings;
    settings.SetIntraOpNumThreads(options.threads);
    settings.SetGraphOptimizationLevel(ORT_ENABLE_ALL);
    add_provider(settings, options, version);
    {
      // Debian's build prints a thousand lines here. Other providers may print useful messages,
      // so only those of the CPU provider are discarded.
      std::optional<Silence> silence;
      if (options.provider == "cpu") silence.emplace(), operators_.emplace(settings);
      session_.emplace(*env_, options.model.c_str(), settings);
    }
    Ort::AllocatorWithDefaultOptions allocator;
    for (size_t i = 0; i < session_->GetInputCount(); ++i)
      inputs.push_back(described(session_->GetInputNameAllocated(i, allocator).get(),
                                 session_->GetInputTypeInfo(i)));
    for (size_t i = 0; i < session_->GetOutputCount(); ++i)
      outputs.push_back(described(session_->GetOutputNameAllocated(i, allocator).get(),
                                  session_->GetOutputTypeInfo(i)));
    const auto metadata = session_->GetModelMetadata();
    preparation = read_preparation([&](const char* key) {
      const auto value = metadata.LookupCustomMetadataMapAllocated(key, allocator);
      return value ? std::optional<std::string>(value.get()) : std::nullopt;
    });
  }

  std::vector<Tensor> run(std::vector<Tensor>& given) {
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<Ort::Value> values;
    std::vector<const char*> in, out;
    for (size_t i = 0; i < given.size(); ++i) {
      values.push_back(Ort::Value::CreateTensor(memory, given[i].data(), given[i].bytes.size(),
                                                given[i].shape.data(), given[i].shape.size(),
                                                element(given[i].type)));
      in.push_back(inputs[i].name.c_str());
    }
    for (const Port& port : outputs) out.push_back(port.name.c_str());
    auto answers = session_->Run(Ort::RunOptions{nullptr}, in.data(), values.data(), values.size(),
                                 out.data(), out.size());
    std::vector<Tensor> found;
    for (size_t i = 0; i < answers.size(); ++i) {
      const Shape shape = answers[i].GetTensorTypeAndShapeInfo().GetShape();
      found.push_back(make_tensor(outputs[i].type, shape, outputs[i].name));
      found.back().fill(answers[i].GetTensorRawData());
    }
    return found;
  }

 private:
  std::optional<Ort::Env> env_;  // created after the library is opened
  std::optional<OwnOperators> operators_;
  std::optional<Ort::Session> session_;

  static ONNXTensorElementDataType element(Type type) {
    switch (type) {
      case Type::f32:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
      case Type::u8:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
      case Type::i64:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
      case Type::i32:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
      case Type::b8:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL;
    }
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  }

  static Port described(const char* name, const Ort::TypeInfo& info) {
    if (info.GetONNXType() != ONNX_TYPE_TENSOR)
      fail("the model's input or output ", name, " must be a tensor.");
    const auto tensor = info.GetTensorTypeAndShapeInfo();
    for (const TypeFacts& known : kTypes)
      if (element(known.type) == tensor.GetElementType())
        return {name, known.type, tensor.GetShape()};
    fail("the model's tensor ", name, " has ONNX type ", int(tensor.GetElementType()),
         ", but the engine accepts only float32, uint8, int64, int32 and bool.");
  }

  // Passes the options as pairs of strings. Older libraries require a struct instead. The size of
  // the struct differs between versions, so it is used only if the library has the same version
  // as the headers that the engine was compiled with.
  static void add_migraphx(Ort::SessionOptions& settings, int device, const std::string& version) {
    try {
      return void(
          settings.AppendExecutionProvider("MIGraphX", {{"device_id", std::to_string(device)}}));
    } catch (const Ort::Exception& error) {
      if (!std::strstr(error.what(), "Unknown provider name")) throw;
    }
    const std::string own = "1." + std::to_string(ORT_API_VERSION) + ".";
    if (version.compare(0, own.size(), own))
      fail("ONNX Runtime ", version,
           " expects MIGraphX options in the layout of its own headers, but this engine was "
           "compiled with the headers of ",
           own, "x; build it with the headers of ", version, " (-DORT_INCLUDE=FOLDER).");
    OrtMIGraphXProviderOptions facts{};
    facts.device_id = device;
    settings.AppendExecutionProvider_MIGraphX(facts);
  }

  // ONNX Runtime opens the vendor's libraries here. If one is missing, the error message names it.
  static void add_provider(Ort::SessionOptions& settings, const Options& options,
                           const std::string& version) {
    const OrtApi& api = Ort::GetApi();
    const std::string device = std::to_string(options.device);
    if (options.provider == "cpu") return;
    if (options.provider == "tensorrt") {
      OrtTensorRTProviderOptionsV2* facts = nullptr;
      Ort::ThrowOnError(api.CreateTensorRTProviderOptions(&facts));
      const std::unique_ptr<OrtTensorRTProviderOptionsV2, void (*)(OrtTensorRTProviderOptionsV2*)>
          owner(facts, api.ReleaseTensorRTProviderOptions);
      // TensorRT 10 needs flags that enable the precision of the model; TensorRT 11 does not
      const bool half = options.precision == "fp16", integers = options.precision == "int8";
      const char* keys[] = {"device_id", "trt_engine_cache_enable", "trt_engine_cache_path",
                            "trt_fp16_enable", "trt_int8_enable"};
      const char* values[] = {device.c_str(), "1", "trt_cache", half ? "1" : "0",
                              integers ? "1" : "0"};
      Ort::ThrowOnError(api.UpdateTensorRTProviderOptions(facts, keys, values, 5));
      settings.AppendExecutionProvider_TensorRT_V2(*facts);
    } else if (options.provider == "cuda") {
      OrtCUDAProviderOptionsV2* facts = nullptr;
      Ort::ThrowOnError(api.CreateCUDAProviderOptions(&facts));
      const std::unique_ptr<OrtCUDAProviderOptionsV2, void (*)(OrtCUDAProviderOptionsV2*)> owner(
          facts, api.ReleaseCUDAProviderOptions);
      const char* keys[] = {"device_id"};
      const char* values[] = {device.c_str()};
      Ort::ThrowOnError(api.UpdateCUDAProviderOptions(facts, keys, values, 1));
      settings.AppendExecutionProvider_CUDA_V2(*facts);
    } else if (options.provider == "cann") {
      OrtCANNProviderOptions* facts = nullptr;
      Ort::ThrowOnError(api.CreateCANNProviderOptions(&facts));
      const std::unique_ptr<OrtCANNProviderOptions, void (*)(OrtCANNProviderOptions*)> owner(
          facts, api.ReleaseCANNProviderOptions);
      const char* keys[] = {"device_id", "precision_mode", "enable_cann_graph"};
      const char* values[] = {device.c_str(), "allow_fp32_to_fp16", "1"};
      Ort::ThrowOnError(api.UpdateCANNProviderOptions(facts, keys, values, 3));
      settings.AppendExecutionProvider_CANN(*facts);
    } else if (options.provider == "migraphx") {
      add_migraphx(settings, options.device, version);
    } else {
      fail("--provider must be cpu, cuda, tensorrt, cann or migraphx; got ", options.provider, ".");
    }
  }
};

#endif
