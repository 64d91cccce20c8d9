// Runs an exported model. The same source and binary work with every build of ONNX Runtime.
//
//   engine MODEL [--input FILE]... [--output FOLDER] [--selfcheck FOLDER] [options]
//
// The library is opened at run time (dlopen), so one binary works with the CPU, TensorRT, CANN
// and MIGraphX builds, and an option selects the execution provider. If ENGINE_OPENVINO is
// defined at compile time, the engine is linked against OpenVINO and uses it instead.
//
// Inputs are .npy files. A model that takes [N, C, H, W] also accepts images (PNG, JPEG, BMP,
// PGM, PPM, ...). The engine prints one JSON object to stdout. On an error, it prints one
// sentence to stderr and returns a nonzero exit status.

#include "output.h"
#include "session.h"

// ---------------------------------------------------------------- running

bool fits(const Shape& shape, const Shape& wanted) {
  if (shape.size() != wanted.size()) return false;
  for (size_t i = 0; i < shape.size(); ++i)
    if (wanted[i] >= 0 && wanted[i] != shape[i]) return false;
  return true;
}

void check(const Tensor& tensor, const Port& port, const std::string& whose) {
  if (tensor.type != port.type || !fits(tensor.shape, port.shape))
    fail(whose, " is ", text(tensor.type, tensor.shape), ", but the model's input ", port.name,
         " must be ", text(port.type, port.shape), ".");
}

// Returns the samples [first, last) along the batch axis. A scalar, which applies to every
// sample, is returned unchanged.
Tensor rows(const Tensor& all, int64_t first, int64_t last) {
  if (all.shape.empty()) return all;
  const size_t each = all.bytes.size() / size_t(all.shape[0]);
  Tensor part{all.type, all.shape, {}};
  part.shape[0] = last - first;
  part.bytes.assign(all.bytes.begin() + long(size_t(first) * each),
                    all.bytes.begin() + long(size_t(last) * each));
  return part;
}

void append(Tensor& all, const Tensor& more, const std::string& whose) {
  const bool alike = all.type == more.type && !all.shape.empty() &&
                     all.shape.size() == more.shape.size() &&
                     std::equal(all.shape.begin() + 1, all.shape.end(), more.shape.begin() + 1);
  if (!alike)
    fail(whose, " is ", text(more.type, more.shape), ", but the batch so far is ",
         text(all.type, all.shape),
         "; the files of a batch must have a batch axis, the same type, and the same sizes along "
         "all other axes.");
  all.bytes.insert(all.bytes.end(), more.bytes.begin(), more.bytes.end());
  all.shape[0] += more.shape[0];
}

// The first files are the model's inputs, in order. Additional files extend the batch.
std::vector<Tensor> read_inputs(const std::vector<std::string>& files, const Session& session) {
  if (files.size() % session.inputs.size())
    fail("--input was passed ", files.size(), " times, but the model has ", session.inputs.size(),
         " inputs, so the number of files must be a multiple of ", session.inputs.size(), ".");
  std::vector<Tensor> found(session.inputs.size());
  for (size_t i = 0; i < files.size(); ++i) {
    const Port& port = session.inputs[i % session.inputs.size()];
    const bool npy = fs::path(files[i]).extension() == ".npy";
    const Tensor one =
        npy ? read_npy(files[i])
            : prepare(read_image(files[i]), port.shape, session.preparation, files[i]);
    if (!one.shape.empty() && !one.shape[0])
      fail(files[i], " contains no samples: its shape is ", text(one.shape), ".");
    if (i < found.size())
      found[i] = one;
    else
      append(found[i % found.size()], one, files[i]);
  }
  for (size_t i = 0; i < found.size(); ++i) check(found[i], session.inputs[i], "--input");
  return found;
}

// Creates synthetic inputs, which are used for timing when no input is passed.
std::vector<Tensor> made_up(const Session& session, int64_t batch) {
  std::vector<Tensor> found;
  for (const Port& port : session.inputs) {
    Shape shape = port.shape;
    if (!shape.empty() && shape[0] < 0) shape[0] = batch;
    if (std::any_of(shape.begin(), shape.end(), [](int64_t n) { return n < 0; }))
      fail("--input is required because the model's input ", port.name, " has a variable shape, ",
           text(port.shape), ".");
    Tensor tensor = make_tensor(port.type, shape, port.name);
    uint32_t state = 1;
    if (port.type == Type::f32)
      for (size_t i = 0; i < tensor.bytes.size() / 4; ++i)
        tensor.f32()[i] = float((state = state * 1664525u + 1013904223u) >> 8) / float(1 << 24);
    found.push_back(std::move(tensor));
  }
  return found;
}

// Reads the first --batch samples of the self-check inputs, or all of them if there are fewer.
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

// The running maxima of |y - r| (infinite if only one of them is NaN) and |r| for one output.
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

// Runs the model on FOLDER/input_I.npy and compares its outputs with FOLDER/output_I.npy. The
// samples are processed batch by batch.
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
      if (shape.empty() || !shape[0])
        fail("the tensors in ", folder.string(),
             " must contain at least one sample, but one of them contains none.");
      if (!found.samples) {
        const Shape& port = (all == &given ? session.inputs : session.outputs)[i].shape;
        found.samples = shape[0], batch = port.empty() ? 1 : std::max<int64_t>(port[0], 1);
      }
      if (shape[0] != found.samples)
        fail("the tensors in ", folder.string(), " must have the same number of samples; got ",
             found.samples, " and ", shape[0], ".");
    }
  if (found.samples % batch)
    fail("the number of samples in ", folder.string(),
         " must be a multiple of the model's batch size, ", batch, "; got ", found.samples, ".");
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
        fail("a batch from output_", i, ".npy has the shape ", text(truth.shape),
             ", but the model returned ", text(answers[i].shape), ".");
      largest[i].add(answers[i], truth);
    }
  }
  for (const Largest& each : largest)
    found.relative = std::max(found.relative, each.apart / std::max(each.reference, 1e-12));
  return found;
}

// ---------------------------------------------------------------- the output

std::string latencies(std::vector<double> ms) {
  std::sort(ms.begin(), ms.end());
  const auto at = [&](double part) { return ms[size_t(std::ceil(part * double(ms.size()))) - 1]; };
  std::ostringstream out;
  out << "{\"min\": " << number(ms.front());
  for (const auto& [name, part] :
       {std::pair{"median", 0.5}, std::pair{"p90", 0.9}, std::pair{"p99", 0.99}})
    out << ", \"" << name << "\": " << number(at(part));
  out << ", \"max\": " << number(ms.back()) << "}";
  return out.str();
}

constexpr int64_t kShown = 64;  // outputs with at most this many values are printed

std::string described(const Tensor& tensor, const Port& port) {
  std::ostringstream out;
  const int64_t n = count(tensor.shape, port.name);
  out << "{\"name\": " << quoted(port.name) << ", \"type\": \"" << facts(tensor.type).name
      << "\", \"shape\": " << text(tensor.shape);
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
    "Usage: engine MODEL [options]\n"
    "Run an ONNX model and print the results as JSON. Defaults are in parentheses.\n"
    "  --input FILE       a .npy file or an image; repeat for more inputs or a larger batch\n"
    "  --output FOLDER    write the outputs to output_0.npy, ... in FOLDER\n"
    "  --selfcheck FOLDER run on input_0.npy, ... and compare the outputs to output_0.npy, ...\n"
    "  --tolerance X      for the self-check: maximum difference / maximum value (1e-3)\n"
    "  --provider NAME    execution provider: cpu, cuda, tensorrt, cann or migraphx (cpu)\n"
    "  --library FILE     ONNX Runtime library ($ORT_LIBRARY, or the system's library)\n"
    "  --precision NAME   OpenVINO: fp32 or bf16, for all layers that are not INT8;\n"
    "                     TensorRT: the precision of the model, fp32, fp16 or int8 (fp32)\n"
    "  --checksum MODE    check or skip: whether to verify MODEL against MODEL.sha256, and for\n"
    "                     the self-check all files that are listed there (check)\n"
    "  --threads N        number of CPU threads (1)\n"
    "  --device N         index of the accelerator (0)\n"
    "  --batch N          batch size for synthetic inputs or self-check samples (1)\n"
    "  --warmup N         number of untimed runs before the timed ones (3)\n"
    "  --repeat N         number of timed runs (20)\n"
    "For 3 x 3 convolutions in files written for this engine, $ENGINE_WINOGRAD chooses the\n"
    "kernel: off, portable, avx2 or avx512 (the fastest that this processor has).\n";

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
  if (value.empty() || *end || n < least || n > 1000000)
    fail(option, " must be an integer between ", least, " and 1000000; got \"", value, "\".");
  return n;
}

double tolerance(const std::string& value) {
  const char* const expected = "a single nonnegative number";
  const auto found = numbers(value, "--tolerance", expected);
  if (found.size() != 1 || found[0] < 0)
    fail("--tolerance must be ", expected, "; got \"", value, "\".");
  return found[0];
}

bool checked(const std::string& value) {
  if (value != "check" && value != "skip")
    fail("--checksum must be check or skip; got \"", value, "\".");
  return value == "check";
}

Command parse(const std::vector<std::string>& words) {
  Command command;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.compare(0, 2, "--")) {
      if (!command.options.model.empty())
        fail("MODEL must be a single file; got ", command.options.model.string(), " and ", word,
             ".");
      command.options.model = word;
      continue;
    }
    if (i + 1 == words.size()) fail(word, " requires a value.");
    const std::string& value = words[++i];
    if (word == "--input")
      command.inputs.push_back(value);
    else if (word == "--output")
      command.output = value;
    else if (word == "--selfcheck")
      command.check = value;
    else if (word == "--tolerance")
      command.tolerance = tolerance(value);
    else if (word == "--checksum")
      command.checksum = checked(value);
    else if (word == "--provider")
      command.options.provider = value;
    else if (word == "--library")
      command.options.library = value;
    else if (word == "--precision")
      command.options.precision = value;
    else if (word == "--threads")
      command.options.threads = int(whole(word, value, 1));
    else if (word == "--device")
      command.options.device = int(whole(word, value, 0));
    else if (word == "--batch")
      command.batch = whole(word, value, 1);
    else if (word == "--warmup")
      command.warmup = whole(word, value, 0);
    else if (word == "--repeat")
      command.repeat = whole(word, value, 1);
    else
      fail(word, " is not an option; see --help.");
  }
  const std::vector<std::string> known{"fp32", "bf16", "fp16", "int8"};
  if (std::find(known.begin(), known.end(), command.options.precision) == known.end())
    fail("--precision must be fp32, bf16, fp16 or int8; got ", command.options.precision, ".");
  if (command.options.model.empty()) fail("MODEL is required; see --help.");
  std::error_code error;
  if (!fs::is_regular_file(command.options.model, error))
    fail(command.options.model.string(), " is not a file.");
  return command;
}

int run(const Command& command) {
  const fs::path& model = command.options.model;
  const std::string advice = "copy the whole folder again, or pass --checksum skip.";
  if (command.checksum && !command.check.empty())
    Checksums(model, advice).verify_others(command.check);
  const auto begun = Clock::now();
  if (command.checksum) Checksums(model, advice).verify(model.filename().string());
  Session session(command.options);
  if (session.inputs.empty() || session.outputs.empty())
    fail(model.string(), " has no ", session.inputs.empty() ? "inputs" : "outputs",
         ", but at least one is required.");
  const double load_ms = milliseconds(begun);
  std::ostringstream out;
  out << "{\"model\": " << quoted(model.string())
      << ", \"runtime\": " << quoted(session.runtime)
      << ", \"provider\": " << quoted(command.options.provider)
      << ", \"threads\": " << command.options.threads << ", \"checksum\": \""
      << (command.checksum ? "verified" : "skipped") << "\", \"load_ms\": " << number(load_ms);
  bool same = true;
  if (!command.check.empty()) {
    const Difference found = selfcheck(session, command.check);
    same = found.relative <= command.tolerance;
    out << ", \"selfcheck\": {\"samples\": " << found.samples
        << ", \"relative_difference\": " << number(found.relative)
        << ", \"tolerance\": " << number(command.tolerance)
        << ", \"passed\": " << (same ? "true" : "false") << "}";
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
  out << ", \"batch\": " << (given[0].shape.empty() ? 1 : given[0].shape[0])
      << ", \"latency_ms\": " << latencies(ms) << ", \"outputs\": [";
  for (size_t i = 0; i < answers.size(); ++i) {
    out << (i ? ", " : "") << described(answers[i], session.outputs[i]);
    if (command.output.empty()) continue;
    fs::create_directories(command.output);
    write_npy(fs::path(command.output) / ("output_" + std::to_string(i) + ".npy"), answers[i]);
  }
  std::printf("%s]}\n", out.str().c_str());
  if (!same)
    std::fprintf(stderr,
                 "engine: the self-check failed: the outputs differ from the stored outputs by "
                 "more than the tolerance.\n");
  return same ? 0 : 1;
}

#ifndef ENGINE_NO_MAIN  // a fuzzer defines its own main
int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (std::find(words.begin(), words.end(), "--help") != words.end())
    return std::fputs(kHelp, stdout) < 0;
  try {
    return run(parse(words));
  } catch (const std::exception& error) {  // thrown by the engine, the runtime or the file system
    std::string sentence = error.what();
    std::replace(sentence.begin(), sentence.end(), '\n', ' ');
    std::fprintf(stderr, "engine: %s\n", sentence.c_str());
    return 2;
  }
}
#endif
