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

  // Attributes; Refused if one is there with another type.
  int64_t integer(const char* name) const;  // Refused without it as well
  std::optional<std::string> text(const char* name) const;
  float number(const char* name, float otherwise) const;
  Shape integers(const char* name) const;  // empty without the attribute, and never else
  bool has_attribute(const char* name) const;

  // Whether the node has this input, stored or computed.
  bool is_given(size_t index) const;
  // An input that the file stores; Refused if it is computed.
  Tensor stored(size_t index, const char* name) const;

 private:
  bool is_read(ort::Status*, const char* name, const char* type) const;

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
