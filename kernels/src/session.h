// ONNX Runtime's values in C++: attributes, stored inputs, tensors and threads. Errors of its own are thrown on.
#pragma once

#include <optional>
#include <string>

#include "convolution.h"
#include "ort.h"
#include "parallel.h"

namespace domino {

// A status that ONNX Runtime gave, to be handed back to it.
struct Failed {
  ort::Status* status;
};

inline void pass(ort::Status* status) {
  if (status) throw Failed{status};
}

struct Tensor {
  Shape shape;
  void* data = nullptr;

  int64_t size() const { return size_of(shape); }
  template <class Value>
  Value* as() const {
    return static_cast<Value*>(data);
  }
};

Tensor tensor_of(const ort::Api&, const ort::Value*);

// A node, while its kernel is made.
class Node {
 public:
  Node(const ort::Api& api, const ort::KernelInfo* info) : api_(api), info_(info) {}

  int64_t integer(const char* name) const;
  std::string text(const char* name) const;  // empty without the attribute
  float number(const char* name, float otherwise) const;
  Shape integers(const char* name) const;  // empty without the attribute
  bool has_input(size_t index) const;
  // An input that the file stores; Refused if it is computed.
  Tensor stored(size_t index, const char* name) const;

 private:
  const ort::Api& api_;
  const ort::KernelInfo* info_;
};

// One call of a kernel.
class Call {
 public:
  Call(const ort::Api& api, ort::KernelContext* context) : api_(api), context_(context) {}

  // Nothing where an optional input isn't given.
  std::optional<Tensor> input(size_t index) const;
  Tensor output(const Shape& shape) const;
  Parallel parallel() const;

 private:
  const ort::Api& api_;
  ort::KernelContext* context_;
};

}  // namespace domino
