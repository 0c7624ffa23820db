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

int64_t Node::integer(const char* name) const {
  int64_t value = 0;
  pass(api_.KernelInfoGetAttribute_int64(info_, name, &value));
  return value;
}

std::string Node::text(const char* name) const {
  char value[32];
  size_t size = sizeof value;
  if (ort::Status* missing = api_.KernelInfoGetAttribute_string(info_, name, nullptr, &size)) {
    api_.ReleaseStatus(missing);
    return {};
  }
  if (size > sizeof value) throw Refused(std::string(name) + " is too long");
  pass(api_.KernelInfoGetAttribute_string(info_, name, value, &size));
  return size ? std::string(value, size - 1) : std::string();
}

float Node::number(const char* name, float otherwise) const {
  float value = otherwise;
  if (ort::Status* missing = api_.KernelInfoGetAttribute_float(info_, name, &value)) {
    api_.ReleaseStatus(missing);
    return otherwise;
  }
  return value;
}

Shape Node::integers(const char* name) const {
  size_t count = 0;
  if (ort::Status* missing = api_.KernelInfoGetAttributeArray_int64(info_, name, nullptr, &count)) {
    api_.ReleaseStatus(missing);
    return {};
  }
  Shape values(count);
  if (count) pass(api_.KernelInfoGetAttributeArray_int64(info_, name, values.data(), &count));
  return values;
}

bool Node::has_input(size_t index) const {
  size_t count = 0;
  pass(api_.KernelInfo_GetInputCount(info_, &count));
  if (index >= count) return false;
  int is_constant = 0;
  const ort::Value* value = nullptr;
  if (ort::Status* missing = api_.KernelInfoGetConstantInput_tensor(info_, index, &is_constant, &value)) {
    api_.ReleaseStatus(missing);
    return false;
  }
  return is_constant && value;
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
