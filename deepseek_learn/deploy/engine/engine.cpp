// Runs an exported model: one source, one binary, every build of ONNX Runtime.
//
//   engine MODEL [--input FILE]... [--output FOLDER] [--selfcheck FOLDER] [options]
//
// The library is opened at run time (dlopen), so the same binary runs with the CPU,
// TensorRT, CANN and MIGraphX builds; the execution provider is an option. Compiled with
// ENGINE_OPENVINO it runs OpenVINO instead, linked as usual.
//
// Inputs are .npy files, or images (PNG, JPEG, BMP, PGM, PPM, ...) for models that take
// [N, C, H, W]. The output on stdout is one JSON object; an error is one sentence on stderr
// and a nonzero exit status.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef ENGINE_OPENVINO
#include <openvino/openvino.hpp>
#else
#define ORT_API_MANUAL_INIT
#include <dlfcn.h>
#include <fcntl.h>
#include <onnxruntime_cxx_api.h>
#include <unistd.h>
#endif

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#include "stb_image.h"

#include "sha256.h"

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Shape = std::vector<int64_t>;

// ---------------------------------------------------------------- errors and numbers

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw Error(text.str());
}

constexpr int64_t kMostElements = int64_t{1} << 31;  // 8 GiB of float32: beyond it, the header is corrupted

// Number of elements; rejects negative and oversized shapes.
int64_t count(const Shape& shape, const std::string& whose) {
  int64_t n = 1;
  for (int64_t size : shape) {
    if (size < 0) fail(whose, " has a negative size in its shape.");
    if (size && n > kMostElements / size) fail(whose, " is larger than 2^31 elements.");
    n *= size;
  }
  return n;
}

std::string text(const Shape& shape) {
  std::ostringstream out;
  out << "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i) out << ", ";
    if (shape[i] < 0) out << "any"; else out << shape[i];
  }
  out << "]";
  return out.str();
}

// ---------------------------------------------------------------- tensors and .npy

enum class Type { f32, u8, i64, i32, b8 };

struct TypeFacts {
  Type type;
  const char* name;
  const char* npy;  // NumPy's dtype string
  size_t bytes;
};
constexpr TypeFacts kTypes[] = {{Type::f32, "float32", "<f4", 4},
                                {Type::u8, "uint8", "|u1", 1},
                                {Type::i64, "int64", "<i8", 8},
                                {Type::i32, "int32", "<i4", 4},
                                {Type::b8, "bool", "|b1", 1}};

const TypeFacts& facts(Type type) { return kTypes[static_cast<int>(type)]; }

struct Tensor {
  Type type = Type::f32;
  Shape shape;
  std::vector<unsigned char> bytes;

  float* f32() { return reinterpret_cast<float*>(bytes.data()); }
  // The runtimes require a non-null address even for a tensor without elements.
  void* data() {
    static uint64_t nothing = 0;
    return bytes.empty() ? static_cast<void*>(&nothing) : bytes.data();
  }
  void fill(const void* from) {
    if (!bytes.empty()) std::memcpy(bytes.data(), from, bytes.size());
  }
  double at(int64_t i) const {
    const unsigned char* p = bytes.data() + i * facts(type).bytes;
    switch (type) {
      case Type::u8:
      case Type::b8: return *p;
      case Type::f32: { float v; std::memcpy(&v, p, 4); return v; }
      case Type::i64: { int64_t v; std::memcpy(&v, p, 8); return double(v); }
      case Type::i32: { int32_t v; std::memcpy(&v, p, 4); return v; }
    }
    return 0;
  }
};

std::string text(Type type, const Shape& shape) { return std::string(facts(type).name) + " " + text(shape); }

Tensor make_tensor(Type type, Shape shape, const std::string& whose) {
  Tensor made{type, std::move(shape), {}};
  made.bytes.resize(count(made.shape, whose) * facts(type).bytes);
  return made;
}

std::string read_file(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) fail(path.string(), " is not a file.");
  std::ifstream file(path, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(file), {}};
  if (!file && !file.eof()) fail(path.string(), " cannot be read.");
  return content;
}

// The value after 'KEY': in a .npy header, between `begin` and `end`.
std::string header_field(const std::string& header, const std::string& key, char begin,
                         char end, const std::string& whose) {
  size_t at = header.find("'" + key + "'");
  at = at == std::string::npos ? at : header.find(begin, at + key.size() + 2);
  size_t last = at == std::string::npos ? at : header.find(end, at + 1);
  if (last == std::string::npos) fail(whose, " has no ", key, " in its .npy header.");
  return header.substr(at + 1, last - at - 1);
}

// Reads a .npy file in C order whose dtype is one of kTypes. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
Tensor read_npy(const fs::path& path) {
  const std::string whose = path.string(), content = read_file(path);
  if (content.size() < 10 || content.compare(0, 6, "\x93NUMPY") != 0)
    fail(whose, " is not a .npy file.");
  const auto byte = [&](size_t i) { return size_t(static_cast<unsigned char>(content[i])); };
  const bool old = byte(6) == 1;
  const size_t start = old ? 10 : 12;
  if (content.size() < start) fail(whose, " ends within its header.");
  size_t length = byte(8) | byte(9) << 8;
  if (!old) length |= byte(10) << 16 | byte(11) << 24;
  if (content.size() - start < length) fail(whose, " ends within its header.");
  const std::string header = content.substr(start, length);

  const std::string kind = header_field(header, "descr", '\'', '\'', whose);
  const auto found = std::find_if(std::begin(kTypes), std::end(kTypes),
                                  [&](const TypeFacts& t) { return kind == t.npy; });
  if (found == std::end(kTypes))
    fail(whose, " holds ", kind, "; the engine reads float32, uint8, int64, int32 and bool.");
  if (header.find("'fortran_order': False") == std::string::npos)
    fail(whose, " must be in C order (numpy.ascontiguousarray).");
  Shape shape;
  std::stringstream sizes(header_field(header, "shape", '(', ')', whose));
  for (std::string size; std::getline(sizes, size, ',');) {
    if (size.find_first_not_of(" ") == std::string::npos) continue;
    char* end = nullptr;
    shape.push_back(std::strtoll(size.c_str(), &end, 10));
    if (*end) fail(whose, " has the shape (", sizes.str(), ") in its header.");
  }
  const size_t wanted = size_t(count(shape, whose)) * found->bytes;
  if (content.size() - start - length != wanted)  // before allocating anything of that size
    fail(whose, " should hold ", wanted, " bytes for ", text(shape), "; it has ",
         content.size() - start - length, ".");
  Tensor tensor = make_tensor(found->type, shape, whose);
  std::copy(content.begin() + long(start + length), content.end(), tensor.bytes.begin());
  if (tensor.type == Type::b8)  // the runtime treats a byte above 1 as neither true nor false
    for (unsigned char& byte : tensor.bytes) byte = byte != 0;
  return tensor;
}

// Atomic write: to a temporary file that is then renamed.
void write_npy(const fs::path& path, const Tensor& tensor) {
  std::ostringstream head;
  head << "{'descr': '" << facts(tensor.type).npy << "', 'fortran_order': False, 'shape': (";
  for (int64_t size : tensor.shape) head << size << ",";
  head << "), }";
  std::string header = head.str();
  header.append(64 - (10 + header.size() + 1) % 64, ' ').append("\n");
  const fs::path temporary = path.string() + ".part";
  std::ofstream file(temporary, std::ios::binary);
  file.write("\x93NUMPY\x01\x00", 8);
  file.put(char(header.size() & 255)).put(char(header.size() >> 8));
  file << header;
  file.write(reinterpret_cast<const char*>(tensor.bytes.data()), long(tensor.bytes.size()));
  file.close();
  std::error_code error;
  if (file) fs::rename(temporary, path, error);
  if (!file || error) {
    fs::remove(temporary, error);
    fail(path.string(), " cannot be written.");
  }
}

// ---------------------------------------------------------------- images

struct Picture {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<unsigned char> pixels;  // height, width, channels
};

Picture read_picture(const fs::path& path) {
  const std::string content = read_file(path);
  if (content.size() > size_t(INT32_MAX)) fail(path.string(), " is too large for a picture.");
  int width = 0, height = 0, channels = 0;
  const auto* data = reinterpret_cast<const unsigned char*>(content.data());
  unsigned char* pixels = stbi_load_from_memory(data, int(content.size()), &width, &height, &channels, 0);
  if (!pixels) fail(path.string(), " is no .npy file and no picture: ", stbi_failure_reason(), ".");
  const std::unique_ptr<unsigned char, void (*)(void*)> owner(pixels, stbi_image_free);
  Picture picture{height, width, channels, {}};
  picture.pixels.assign(pixels, pixels + int64_t(height) * width * channels);
  return picture;
}

// Image normalization from the model's metadata.
struct Preparation {
  std::vector<float> mean{0.0f}, std{1.0f};  // one per channel, or one for all; of values in [0, 1]
};

// Comma-separated numbers, at least one.
std::vector<float> numbers(const std::string& list, const std::string& whose) {
  std::vector<float> found;
  for (size_t begin = 0; begin != std::string::npos;) {
    const size_t comma = list.find(',', begin);
    const std::string part = list.substr(begin, comma == std::string::npos ? comma : comma - begin);
    char* end = nullptr;
    found.push_back(std::strtof(part.c_str(), &end));
    if (part.empty() || *end || !std::isfinite(found.back()))
      fail(whose, " must be numbers with commas between them; got \"", list, "\".");
    begin = comma == std::string::npos ? comma : comma + 1;
  }
  return found;
}

// `value(key)` returns the model's metadata entry, if it exists.
template <class Value>
Preparation read_preparation(const Value& value) {
  Preparation how;
  if (const auto mean = value("mean")) how.mean = numbers(*mean, "the model's mean");
  if (const auto std = value("std")) how.std = numbers(*std, "the model's std");
  if (*std::min_element(how.std.begin(), how.std.end()) <= 0) fail("the model's std must be above 0.");
  return how;
}

// One image → float32 [1, C, H, W]: bilinear (half-pixel centers), [0, 1], (x - mean) / std.
Tensor prepare(const Picture& picture, const Shape& wanted, const Preparation& how, const std::string& whose) {
  if (wanted.size() != 4 || (wanted[1] != 1 && wanted[1] != 3))
    fail("the model takes ", text(wanted), ", which is no picture; give .npy files.");
  const int64_t C = wanted[1], H = wanted[2] < 0 ? picture.height : wanted[2],
                W = wanted[3] < 0 ? picture.width : wanted[3];
  for (const auto& [name, each] : {std::pair{"mean", &how.mean}, std::pair{"std", &how.std}})
    if (each->size() != 1 && int64_t(each->size()) != C)
      fail("the model's ", name, " holds ", each->size(), " numbers; it takes pictures of ", C, " channels.");
  if (picture.channels < C) fail(whose, " is gray; the model takes ", C, " channels.");
  Tensor made = make_tensor(Type::f32, {1, C, H, W}, whose);
  const auto place = [](int64_t i, int64_t to, int64_t from, int64_t& low, int64_t& high, float& part) {
    const float at = std::clamp((float(i) + 0.5f) * float(from) / float(to) - 0.5f, 0.0f, float(from - 1));
    low = int64_t(at), high = std::min(low + 1, from - 1), part = at - float(low);
  };
  // a color image for a grayscale model: ITU-R BT.601 luma
  const auto value = [&](int64_t y, int64_t x, int64_t c) {
    const auto* p = &picture.pixels[size_t((y * picture.width + x) * picture.channels)];
    return C == 1 && picture.channels >= 3 ? 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2] : float(p[c]);
  };
  for (int64_t c = 0; c < C; ++c) {
    const float mean = how.mean[size_t(c) % how.mean.size()], std = how.std[size_t(c) % how.std.size()];
    for (int64_t y = 0; y < H; ++y)
      for (int64_t x = 0; x < W; ++x) {
        int64_t y0, y1, x0, x1;
        float fy, fx;
        place(y, H, picture.height, y0, y1, fy);
        place(x, W, picture.width, x0, x1, fx);
        const float top = value(y0, x0, c) * (1 - fx) + value(y0, x1, c) * fx;
        const float bottom = value(y1, x0, c) * (1 - fx) + value(y1, x1, c) * fx;
        made.f32()[(c * H + y) * W + x] = ((top * (1 - fy) + bottom * fy) / 255 - mean) / std;
      }
  }
  return made;
}

// ---------------------------------------------------------------- the runtime

struct Port {  // an input or output of the model; -1 in the shape: any size
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
    if (options.provider != "cpu") fail("--provider must be cpu for OpenVINO; got ", options.provider, ".");
    if (options.precision != "fp32" && options.precision != "bf16") fail("--precision must be fp32 or bf16 for OpenVINO; got ", options.precision, ".");
    const auto model = core_.read_model(options.model.string());
    preparation = read_preparation([&](const char* key) {
      const std::vector<std::string> path{"framework", key};
      return model->has_rt_info(path) ? std::optional(model->get_rt_info<std::string>(path)) : std::nullopt;
    });
    const ov::element::Type precision = options.precision == "bf16" ? ov::element::bf16 : ov::element::f32;
    const ov::AnyMap wanted{{ov::inference_num_threads.name(), options.threads},
                            {ov::hint::inference_precision.name(), precision},
                            {ov::hint::performance_mode.name(), ov::hint::PerformanceMode::LATENCY}};
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
      found.push_back(make_tensor(outputs[i].type, Shape(shape.begin(), shape.end()), outputs[i].name));
      found.back().fill(value.data());
    }
    return found;
  }

 private:
  ov::Core core_;
  ov::CompiledModel compiled_;
  ov::InferRequest request_;

  static ov::element::Type element(Type type) {
    return std::map<Type, ov::element::Type>{{Type::f32, ov::element::f32}, {Type::u8, ov::element::u8},
                                             {Type::i64, ov::element::i64}, {Type::i32, ov::element::i32},
                                             {Type::b8, ov::element::boolean}}.at(type);
  }

  static Port described(const ov::Output<const ov::Node>& port) {
    Shape shape;
    for (const auto& size : port.get_partial_shape()) shape.push_back(size.is_static() ? size.get_length() : -1);
    for (const TypeFacts& known : kTypes)
      if (element(known.type) == port.get_element_type())
        return {port.get_names().empty() ? "" : port.get_any_name(), known.type, shape};
    fail("the model's ", port.get_any_name(), " has type ", port.get_element_type().get_type_name(), ", which the engine does not read.");
  }
};

#else

// Discards stderr during its lifetime.
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

// Opens the library with the API version of the compile-time headers; returns its version.
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
  if (!handle) fail("ONNX Runtime cannot be opened (--library FILE or ORT_LIBRARY names it): ", why, ".");
  auto* base = reinterpret_cast<const OrtApiBase* (*)()>(dlsym(handle, "OrtGetApiBase"));
  if (!base) fail(name, " is not ONNX Runtime: it has no OrtGetApiBase.");
  const OrtApi* api = base()->GetApi(ORT_API_VERSION);
  if (!api) fail(name, " is ONNX Runtime ", base()->GetVersionString(), "; this engine needs 1.", ORT_API_VERSION, " or newer.");
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
      fail("--precision must be fp32 for ONNX Runtime's ", options.provider, ": the model itself says more.");
    const std::string version = open_library(options.library);
    runtime = "ONNX Runtime " + version;
    env_.emplace(ORT_LOGGING_LEVEL_ERROR, "engine");
    Ort::SessionOptions settings;
    settings.SetIntraOpNumThreads(options.threads);
    settings.SetGraphOptimizationLevel(ORT_ENABLE_ALL);
    add_provider(settings, options, version);
    {
      // Debian's build prints a thousand lines here; a vendor's messages may be useful
      std::optional<Silence> silence;
      if (options.provider == "cpu") silence.emplace();
      session_.emplace(*env_, options.model.c_str(), settings);
    }
    Ort::AllocatorWithDefaultOptions allocator;
    for (size_t i = 0; i < session_->GetInputCount(); ++i)
      inputs.push_back(described(session_->GetInputNameAllocated(i, allocator).get(), session_->GetInputTypeInfo(i)));
    for (size_t i = 0; i < session_->GetOutputCount(); ++i)
      outputs.push_back(described(session_->GetOutputNameAllocated(i, allocator).get(), session_->GetOutputTypeInfo(i)));
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
                                                given[i].shape.data(), given[i].shape.size(), element(given[i].type)));
      in.push_back(inputs[i].name.c_str());
    }
    for (const Port& port : outputs) out.push_back(port.name.c_str());
    auto answers = session_->Run(Ort::RunOptions{nullptr}, in.data(), values.data(), values.size(), out.data(), out.size());
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
  std::optional<Ort::Session> session_;

  static ONNXTensorElementDataType element(Type type) {
    switch (type) {
      case Type::f32: return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
      case Type::u8: return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
      case Type::i64: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
      case Type::i32: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
      case Type::b8: return ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL;
    }
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  }

  static Port described(const char* name, const Ort::TypeInfo& info) {
    if (info.GetONNXType() != ONNX_TYPE_TENSOR) fail("the model's ", name, " is no tensor.");
    const auto tensor = info.GetTensorTypeAndShapeInfo();
    for (const TypeFacts& known : kTypes)
      if (element(known.type) == tensor.GetElementType()) return {name, known.type, tensor.GetShape()};
    fail("the model's ", name, " is of a type that the engine does not read (ONNX type ", int(tensor.GetElementType()), ").");
  }

  // Options by string keys. Older libraries take a struct whose size differs between versions:
  // it is passed only to the version of the compile-time headers.
  static void add_migraphx(Ort::SessionOptions& settings, int device, const std::string& version) {
    try {
      return void(settings.AppendExecutionProvider("MIGraphX", {{"device_id", std::to_string(device)}}));
    } catch (const Ort::Exception& error) {
      if (!std::strstr(error.what(), "Unknown provider name")) throw;
    }
    const std::string own = "1." + std::to_string(ORT_API_VERSION) + ".";
    if (version.compare(0, own.size(), own))
      fail("ONNX Runtime ", version, " takes MIGraphX's options in the layout of its own headers; this engine was compiled with those of ",
           own, "x: build it with the headers of ", version, " (ORT_INCLUDE names their folder).");
    OrtMIGraphXProviderOptions facts{};
    facts.device_id = device;
    settings.AppendExecutionProvider_MIGraphX(facts);
  }

  // ONNX Runtime opens the vendor's libraries here; its error names a missing one.
  static void add_provider(Ort::SessionOptions& settings, const Options& options, const std::string& version) {
    const OrtApi& api = Ort::GetApi();
    const std::string device = std::to_string(options.device);
    if (options.provider == "cpu") return;
    if (options.provider == "tensorrt") {
      OrtTensorRTProviderOptionsV2* facts = nullptr;
      Ort::ThrowOnError(api.CreateTensorRTProviderOptions(&facts));
      const std::unique_ptr<OrtTensorRTProviderOptionsV2, void (*)(OrtTensorRTProviderOptionsV2*)> owner(facts, api.ReleaseTensorRTProviderOptions);
      // TensorRT 10 needs flags to enable the model's precision; 11 follows the model
      const bool half = options.precision == "fp16", integers = options.precision == "int8";
      const char* keys[] = {"device_id", "trt_engine_cache_enable", "trt_engine_cache_path", "trt_fp16_enable", "trt_int8_enable"};
      const char* values[] = {device.c_str(), "1", "trt_cache", half ? "1" : "0", integers ? "1" : "0"};
      Ort::ThrowOnError(api.UpdateTensorRTProviderOptions(facts, keys, values, 5));
      settings.AppendExecutionProvider_TensorRT_V2(*facts);
    } else if (options.provider == "cuda") {
      OrtCUDAProviderOptionsV2* facts = nullptr;
      Ort::ThrowOnError(api.CreateCUDAProviderOptions(&facts));
      const std::unique_ptr<OrtCUDAProviderOptionsV2, void (*)(OrtCUDAProviderOptionsV2*)> owner(facts, api.ReleaseCUDAProviderOptions);
      const char* keys[] = {"device_id"};
      const char* values[] = {device.c_str()};
      Ort::ThrowOnError(api.UpdateCUDAProviderOptions(facts, keys, values, 1));
      settings.AppendExecutionProvider_CUDA_V2(*facts);
    } else if (options.provider == "cann") {
      OrtCANNProviderOptions* facts = nullptr;
      Ort::ThrowOnError(api.CreateCANNProviderOptions(&facts));
      const std::unique_ptr<OrtCANNProviderOptions, void (*)(OrtCANNProviderOptions*)> owner(facts, api.ReleaseCANNProviderOptions);
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

// ---------------------------------------------------------------- running

bool fits(const Shape& shape, const Shape& wanted) {
  if (shape.size() != wanted.size()) return false;
  for (size_t i = 0; i < shape.size(); ++i)
    if (wanted[i] >= 0 && wanted[i] != shape[i]) return false;
  return true;
}

void check(const Tensor& tensor, const Port& port, const std::string& whose) {
  if (tensor.type != port.type || !fits(tensor.shape, port.shape))
    fail(whose, " is ", text(tensor.type, tensor.shape), "; the model's ", port.name, " takes ", text(port.type, port.shape), ".");
}

// Samples [first, last) along the batch axis; a scalar applies to every sample.
Tensor rows(const Tensor& all, int64_t first, int64_t last) {
  if (all.shape.empty()) return all;
  const size_t each = all.bytes.size() / size_t(all.shape[0]);
  Tensor part{all.type, all.shape, {}};
  part.shape[0] = last - first;
  part.bytes.assign(all.bytes.begin() + long(size_t(first) * each), all.bytes.begin() + long(size_t(last) * each));
  return part;
}

void append(Tensor& all, const Tensor& more, const std::string& whose) {
  const bool alike = all.type == more.type && !all.shape.empty() && all.shape.size() == more.shape.size() &&
                     std::equal(all.shape.begin() + 1, all.shape.end(), more.shape.begin() + 1);
  if (!alike) fail(whose, " is ", text(more.type, more.shape), ", which does not join ", text(all.type, all.shape), " to a batch.");
  all.bytes.insert(all.bytes.end(), more.bytes.begin(), more.bytes.end());
  all.shape[0] += more.shape[0];
}

// One call of the model takes one tensor per port; further files extend the batch.
std::vector<Tensor> read_inputs(const std::vector<std::string>& files, const Session& session) {
  if (files.size() % session.inputs.size())
    fail("the model takes ", session.inputs.size(), " inputs; --input was given ", files.size(), " times.");
  std::vector<Tensor> found(session.inputs.size());
  for (size_t i = 0; i < files.size(); ++i) {
    const Port& port = session.inputs[i % session.inputs.size()];
    const bool npy = fs::path(files[i]).extension() == ".npy";
    const Tensor one = npy ? read_npy(files[i])
                           : prepare(read_picture(files[i]), port.shape, session.preparation, files[i]);
    if (!one.shape.empty() && !one.shape[0]) fail(files[i], " holds no sample: its shape is ", text(one.shape), ".");
    if (i < found.size()) found[i] = one;
    else append(found[i % found.size()], one, files[i]);
  }
  for (size_t i = 0; i < found.size(); ++i) check(found[i], session.inputs[i], "--input");
  return found;
}

// Synthetic inputs for timing, when no input was given.
std::vector<Tensor> made_up(const Session& session, int64_t batch) {
  std::vector<Tensor> found;
  for (const Port& port : session.inputs) {
    Shape shape = port.shape;
    if (!shape.empty() && shape[0] < 0) shape[0] = batch;
    if (std::any_of(shape.begin(), shape.end(), [](int64_t n) { return n < 0; }))
      fail("the model's ", port.name, " takes ", text(port.shape), ": give an --input.");
    Tensor tensor = make_tensor(port.type, shape, port.name);
    uint32_t state = 1;
    if (port.type == Type::f32)
      for (size_t i = 0; i < tensor.bytes.size() / 4; ++i)
        tensor.f32()[i] = float((state = state * 1664525u + 1013904223u) >> 8) / float(1 << 24);
    found.push_back(std::move(tensor));
  }
  return found;
}

// The first --batch samples of the self-check's inputs, or all if there are fewer.
std::vector<Tensor> stored(const Session& session, const fs::path& folder, int64_t batch) {
  std::vector<Tensor> found;
  for (size_t i = 0; i < session.inputs.size(); ++i) {
    const Tensor all = read_npy(folder / ("input_" + std::to_string(i) + ".npy"));
    const Shape& wanted = session.inputs[i].shape;
    const int64_t fixed = wanted.empty() || wanted[0] < 0 ? batch : wanted[0];
    found.push_back(rows(all, 0, all.shape.empty() ? 1 : std::min(fixed, all.shape[0])));
  }
  return found;
}

struct Difference {
  double relative = 0;  // max |y - r| / max |r|
  int64_t samples = 0;
};

// Running maximum of |y - r| (infinite if only one is NaN) and of |r|, for one output.
struct Largest {
  double apart = 0, reference = 0;

  void add(const Tensor& answer, const Tensor& truth) {
    const int64_t n = count(truth.shape, "output");
    for (int64_t i = 0; i < n; ++i) {
      const double y = answer.at(i), r = truth.at(i);
      const bool same = y == r || (std::isnan(y) && std::isnan(r));
      const double d = same ? 0 : std::fabs(y - r);
      apart = std::max(apart, std::isnan(d) ? INFINITY : d);
      if (std::isfinite(r)) reference = std::max(reference, std::fabs(r));
    }
  }
};

// Replays FOLDER/input_I.npy and compares with FOLDER/output_I.npy, batch by batch.
Difference selfcheck(Session& session, const fs::path& folder) {
  std::vector<Tensor> given, wanted;
  for (size_t i = 0; i < session.inputs.size(); ++i)
    given.push_back(read_npy(folder / ("input_" + std::to_string(i) + ".npy")));
  for (size_t i = 0; i < session.outputs.size(); ++i)
    wanted.push_back(read_npy(folder / ("output_" + std::to_string(i) + ".npy")));
  Difference found;
  int64_t batch = 1;
  for (const auto* all : {&given, &wanted})
    for (size_t i = 0; i < all->size(); ++i) {
      const Shape& shape = (*all)[i].shape;
      if (shape.empty() && all == &given) continue;  // a scalar applies to every sample
      if (shape.empty() || !shape[0]) fail("a tensor in ", folder.string(), " holds no sample.");
      if (!found.samples) {
        const Shape& port = (all == &given ? session.inputs : session.outputs)[i].shape;
        found.samples = shape[0], batch = port.empty() ? 1 : std::max<int64_t>(port[0], 1);
      }
      if (shape[0] != found.samples) fail("the tensors in ", folder.string(), " differ in their number of samples.");
    }
  if (found.samples % batch) fail("the model takes ", batch, " samples at once; ", folder.string(), " holds ", found.samples, ".");
  std::vector<Largest> largest(wanted.size());
  for (int64_t first = 0; first < found.samples; first += batch) {
    std::vector<Tensor> part;
    for (size_t i = 0; i < given.size(); ++i) {
      part.push_back(rows(given[i], first, first + batch));
      check(part.back(), session.inputs[i], "input_" + std::to_string(i) + ".npy");
    }
    const auto answers = session.run(part);
    for (size_t i = 0; i < answers.size(); ++i) {
      const Tensor truth = rows(wanted[i], first, first + batch);
      if (answers[i].shape != truth.shape)
        fail("output_", i, ".npy is ", text(truth.shape), "; the model answers ", text(answers[i].shape), ".");
      largest[i].add(answers[i], truth);
    }
  }
  for (const Largest& each : largest)
    found.relative = std::max(found.relative, each.apart / std::max(each.reference, 1e-12));
  return found;
}

// ---------------------------------------------------------------- the output

std::string quoted(const std::string& words) {
  std::ostringstream out;
  out << '"';
  for (unsigned char c : words) {
    if (c == '"' || c == '\\') out << '\\' << c;
    else if (c < 0x20) { char code[8]; std::snprintf(code, sizeof code, "\\u%04x", c); out << code; }
    else out << c;
  }
  out << '"';
  return out.str();
}

std::string number(double value) {
  if (!std::isfinite(value)) return "null";
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.9g", value);
  return digits;
}

double milliseconds(Clock::time_point since) {
  return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
}

std::string latencies(std::vector<double> ms) {
  std::sort(ms.begin(), ms.end());
  const auto at = [&](double part) { return ms[size_t(std::ceil(part * double(ms.size()))) - 1]; };
  std::ostringstream out;
  out << "{\"min\": " << number(ms.front());
  for (const auto& [name, part] : {std::pair{"median", 0.5}, std::pair{"p90", 0.9}, std::pair{"p99", 0.99}})
    out << ", \"" << name << "\": " << number(at(part));
  out << ", \"max\": " << number(ms.back()) << "}";
  return out.str();
}

constexpr int64_t kShown = 64;  // outputs with at most this many values are printed

std::string described(const Tensor& tensor, const Port& port) {
  std::ostringstream out;
  const int64_t n = count(tensor.shape, port.name);
  out << "{\"name\": " << quoted(port.name) << ", \"type\": \"" << facts(tensor.type).name << "\", \"shape\": " << text(tensor.shape);
  if (n <= kShown) {
    out << ", \"values\": [";
    for (int64_t i = 0; i < n; ++i) out << (i ? ", " : "") << number(tensor.at(i));
    out << "]";
  }
  out << "}";
  return out.str();
}

// ---------------------------------------------------------------- the command line

const char* const kHelp =
    "engine MODEL [options]: runs an ONNX model and prints JSON.\n"
    "  --input FILE       a .npy tensor or a picture; repeat it for more inputs, or a batch\n"
    "  --output FOLDER    writes output_0.npy, ... to it\n"
    "  --selfcheck FOLDER replays input_0.npy, ... and compares with output_0.npy, ...\n"
    "  --tolerance X      of the self-check: largest difference / largest value (1e-3)\n"
    "  --provider NAME    cpu, cuda, tensorrt, cann or migraphx (cpu)\n"
    "  --library FILE     of ONNX Runtime (else ORT_LIBRARY, else the system's)\n"
    "  --precision NAME   OpenVINO: fp32 or bf16, for layers not in int8; TensorRT: fp16 or\n"
    "                     int8, as in the model (fp32)\n"
    "  --checksum check|skip  compare MODEL with MODEL.sha256, if it exists (check)\n"
    "  --threads N        (1)      --device N   which accelerator (0)\n"
    "  --batch N          of synthetic inputs, or of those taken from the self-check (1)\n"
    "  --warmup N         runs before the timed ones (3)      --repeat N   timed runs (20)\n";

struct Command {
  Options options;
  std::vector<std::string> inputs;
  std::string output, check;
  double tolerance = 1e-3;
  bool checksum = true;
  int64_t batch = 1, warmup = 3, repeat = 20;
};

int64_t whole(const std::string& option, const std::string& value, int64_t least) {
  char* end = nullptr;
  const long long n = std::strtoll(value.c_str(), &end, 10);
  if (value.empty() || *end || n < least || n > 1000000) fail(option, " must be a whole number from ", least, "; got \"", value, "\".");
  return n;
}

double tolerance(const std::string& value) {
  const auto found = numbers(value, "--tolerance");
  if (found.size() != 1 || found[0] < 0) fail("--tolerance must be one number from 0; got \"", value, "\".");
  return found[0];
}

bool checked(const std::string& value) {
  if (value != "check" && value != "skip") fail("--checksum must be check or skip; got \"", value, "\".");
  return value == "check";
}

Command parse(const std::vector<std::string>& words) {
  Command command;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.compare(0, 2, "--")) {
      if (!command.options.model.empty()) fail("one MODEL at a time; got ", command.options.model.string(), " and ", word, ".");
      command.options.model = word;
      continue;
    }
    if (i + 1 == words.size()) fail(word, " needs a value.");
    const std::string& value = words[++i];
    if (word == "--input") command.inputs.push_back(value);
    else if (word == "--output") command.output = value;
    else if (word == "--selfcheck") command.check = value;
    else if (word == "--tolerance") command.tolerance = tolerance(value);
    else if (word == "--checksum") command.checksum = checked(value);
    else if (word == "--provider") command.options.provider = value;
    else if (word == "--library") command.options.library = value;
    else if (word == "--precision") command.options.precision = value;
    else if (word == "--threads") command.options.threads = int(whole(word, value, 1));
    else if (word == "--device") command.options.device = int(whole(word, value, 0));
    else if (word == "--batch") command.batch = whole(word, value, 1);
    else if (word == "--warmup") command.warmup = whole(word, value, 0);
    else if (word == "--repeat") command.repeat = whole(word, value, 1);
    else fail(word, " is no option; see --help.");
  }
  const std::vector<std::string> known{"fp32", "bf16", "fp16", "int8"};
  if (std::find(known.begin(), known.end(), command.options.precision) == known.end())
    fail("--precision must be fp32, bf16, fp16 or int8; got ", command.options.precision, ".");
  if (command.options.model.empty()) fail("which MODEL? See --help.");
  std::error_code error;
  if (!fs::is_regular_file(command.options.model, error)) fail(command.options.model.string(), " is not a file.");
  return command;
}

// Verifies MODEL against MODEL.sha256 ("HEX  NAME", the format of sha256sum).
std::string verified(const fs::path& model) {
  const fs::path file = model.string() + ".sha256";
  std::error_code error;
  if (!fs::exists(file, error)) return "none";
  const std::string wanted = read_file(file).substr(0, 64), found = sha256(model.string());
  if (wanted.size() < 64 || wanted.find_first_not_of("0123456789abcdef") != std::string::npos)
    fail(file.string(), " holds no SHA-256.");
  if (found != wanted)
    fail(model.string(), " is not the file that was deployed: its SHA-256 begins with ", found.substr(0, 8), ", ",
         file.filename().string(), " says ", wanted.substr(0, 8), ". Copy it again, or give --checksum skip.");
  return "verified";
}

int run(const Command& command) {
  const auto begun = Clock::now();
  const std::string checksum = command.checksum ? verified(command.options.model) : "skipped";
  Session session(command.options);
  if (session.inputs.empty() || session.outputs.empty())
    fail(command.options.model.string(), " has no ", session.inputs.empty() ? "input" : "output", ".");
  const double load_ms = milliseconds(begun);
  std::ostringstream out;
  out << "{\"model\": " << quoted(command.options.model.string()) << ", \"runtime\": " << quoted(session.runtime)
      << ", \"provider\": " << quoted(command.options.provider) << ", \"threads\": " << command.options.threads
      << ", \"checksum\": \"" << checksum << "\", \"load_ms\": " << number(load_ms);
  bool same = true;
  if (!command.check.empty()) {
    const Difference found = selfcheck(session, command.check);
    same = found.relative <= command.tolerance;
    out << ", \"selfcheck\": {\"samples\": " << found.samples << ", \"relative_difference\": " << number(found.relative)
        << ", \"tolerance\": " << number(command.tolerance) << ", \"passed\": " << (same ? "true" : "false") << "}";
  }
  auto given = !command.inputs.empty() ? read_inputs(command.inputs, session)
               : command.check.empty() ? made_up(session, command.batch)
                                       : stored(session, command.check, command.batch);
  for (int64_t i = 0; i < command.warmup; ++i) session.run(given);
  std::vector<double> ms;
  std::vector<Tensor> answers;
  for (int64_t i = 0; i < command.repeat; ++i) {
    const auto start = Clock::now();
    answers = session.run(given);
    ms.push_back(milliseconds(start));
  }
  out << ", \"batch\": " << (given[0].shape.empty() ? 1 : given[0].shape[0]) << ", \"latency_ms\": " << latencies(ms) << ", \"outputs\": [";
  for (size_t i = 0; i < answers.size(); ++i) {
    out << (i ? ", " : "") << described(answers[i], session.outputs[i]);
    if (command.output.empty()) continue;
    fs::create_directories(command.output);
    write_npy(fs::path(command.output) / ("output_" + std::to_string(i) + ".npy"), answers[i]);
  }
  std::printf("%s]}\n", out.str().c_str());
  if (!same) std::fprintf(stderr, "engine: the answers are not the stored ones: the self-check failed.\n");
  return same ? 0 : 1;
}

#ifndef ENGINE_NO_MAIN  // the fuzzer defines its own
int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (std::find(words.begin(), words.end(), "--help") != words.end()) return std::fputs(kHelp, stdout) < 0;
  try {
    return run(parse(words));
  } catch (const std::exception& error) {  // from the engine, the runtime or the file system
    std::string sentence = error.what();
    std::replace(sentence.begin(), sentence.end(), '\n', ' ');
    std::fprintf(stderr, "engine: %s\n", sentence.c_str());
    return 2;
  }
}
#endif
