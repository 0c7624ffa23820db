#include "session.h"

#include <atomic>
#include <new>

namespace domino {

Tensor tensor_of(const ort::Api& api, const ort::Value* value) {
  struct Info {
    const ort::Api& api;
    ort::TensorInfo* info = nullptr;
    ~Info() {
      if (info) api.ReleaseTensorTypeAndShapeInfo(info);
    }
  } info{api};
  pass(api.GetTensorTypeAndShape(value, &info.info));
  size_t rank = 0;
  pass(api.GetDimensionsCount(info.info, &rank));
  Tensor tensor;
  tensor.shape.resize(rank);
  pass(api.GetDimensions(info.info, tensor.shape.data(), rank));
  pass(api.GetTensorMutableData(const_cast<ort::Value*>(value), &tensor.data));
  return tensor;
}

// ONNX Runtime lists no attributes: one is there if it can be read as something.
bool Node::has_attribute(const char* name) const {
  int64_t integer = 0;
  float number = 0;
  size_t length = 0, integers = 0, numbers = 0;
  bool is_there = false;
  for (ort::Status* status : {api_.KernelInfoGetAttribute_int64(info_, name, &integer),
                              api_.KernelInfoGetAttribute_float(info_, name, &number),
                              api_.KernelInfoGetAttribute_string(info_, name, nullptr, &length),
                              api_.KernelInfoGetAttributeArray_int64(info_, name, nullptr, &integers),
                              api_.KernelInfoGetAttributeArray_float(info_, name, nullptr, &numbers)}) {
    if (status) api_.ReleaseStatus(status);
    is_there = is_there || !status;
  }
  return is_there;
}

// Whether an attribute was there, from the status that reading it gave.
bool Node::is_read(ort::Status* status, const char* name, const char* type) const {
  if (!status) return true;
  api_.ReleaseStatus(status);
  if (has_attribute(name)) throw Refused(std::string("the attribute ") + name + " is not " + type);
  return false;
}

int64_t Node::integer(const char* name) const {
  int64_t value = 0;
  if (!is_read(api_.KernelInfoGetAttribute_int64(info_, name, &value), name, "an integer")) {
    throw Refused(std::string("the attribute ") + name + " is missing");
  }
  return value;
}

std::optional<std::string> Node::text(const char* name) const {
  char value[32];
  size_t size = sizeof value;
  if (!is_read(api_.KernelInfoGetAttribute_string(info_, name, nullptr, &size), name, "a string")) return std::nullopt;
  if (size > sizeof value) throw Refused(std::string(name) + " is too long");
  pass(api_.KernelInfoGetAttribute_string(info_, name, value, &size));
  return size ? std::string(value, size - 1) : std::string();
}

float Node::number(const char* name, float otherwise) const {
  float value = otherwise;
  return is_read(api_.KernelInfoGetAttribute_float(info_, name, &value), name, "a float") ? value : otherwise;
}

Shape Node::integers(const char* name) const {
  constexpr char kType[] = "a list of one or more integers";
  size_t count = 0;
  if (!is_read(api_.KernelInfoGetAttributeArray_int64(info_, name, nullptr, &count), name, kType)) return {};
  // ONNX Runtime reads other types as an empty list.
  if (!count) throw Refused(std::string("the attribute ") + name + " is not " + kType);
  Shape values(count);
  pass(api_.KernelInfoGetAttributeArray_int64(info_, name, values.data(), &count));
  return values;
}

bool Node::is_given(size_t index) const {
  size_t count = 0, size = 0;
  pass(api_.KernelInfo_GetInputCount(info_, &count));
  if (index >= count) return false;
  pass(api_.KernelInfo_GetInputName(info_, index, nullptr, &size));
  return size > 1;  // with the zero at its end: a missing input has no name
}

Tensor Node::stored(size_t index, const char* name) const {
  int is_constant = 0;
  const ort::Value* value = nullptr;
  pass(api_.KernelInfoGetConstantInput_tensor(info_, index, &is_constant, &value));
  if (!is_constant || !value) throw Refused(std::string("the input ") + name + " is not stored in the file");
  return tensor_of(api_, value);
}

std::optional<Tensor> Call::input(size_t index) const {
  const ort::Value* value = nullptr;
  pass(api_.KernelContext_GetInput(context_, index, &value));
  if (!value) return std::nullopt;
  return tensor_of(api_, value);
}

Tensor Call::output(const Shape& shape) const {
  ort::Value* value = nullptr;
  pass(api_.KernelContext_GetOutput(context_, 0, shape.data(), shape.size(), &value));
  Tensor tensor{shape, nullptr};
  pass(api_.GetTensorMutableData(value, &tensor.data));
  return tensor;
}

Parallel Call::parallel() const {
  return [this](void (*body)(void*, size_t), size_t total, void* data) {
    // What a task throws must not pass through ONNX Runtime's threads.
    struct Task {
      void (*body)(void*, size_t);
      void* data;
      std::atomic<bool> failed{false};
    } task{body, data};
    const auto guarded = [](void* of, size_t index) {
      Task& task = *static_cast<Task*>(of);
      try {
        task.body(task.data, index);
      } catch (...) {
        task.failed = true;
      }
    };
    pass(api_.KernelContext_ParallelFor(context_, guarded, total, 0, &task));
    if (task.failed) throw std::bad_alloc();  // tasks take memory, and do nothing else that can fail
  };
}

}  // namespace domino
