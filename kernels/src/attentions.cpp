// Attention between products that stay in floats.
#include <algorithm>
#include <cmath>

#include "attributes.h"
#include "kernels.h"
#include "tiles.h"

namespace domino {
namespace {

constexpr int64_t kFewestQueries = 48;  // of a task: each packs the keys anew
constexpr int64_t kFewTasks = 8;

// The axes of a tensor in an order that an attribute says, as Transpose does; empty for the order that they have.
Shape order_of(const Node& node, const char* name) {
  const Shape order = node.integers(name);
  if (!order.empty() && order.size() != 3 && order.size() != 4) {
    throw Refused(std::string(name) + " has neither 3 nor 4 axes");
  }
  for (int64_t axis = 0; axis < static_cast<int64_t>(order.size()); ++axis) {
    if (std::count(order.begin(), order.end(), axis) != 1) throw Refused(std::string(name) + " is no order of axes");
  }
  return order;
}

// A tensor's sizes and steps in (image, head, row, column): 3 axes are those of one image; steps along axes of size 1
// are 0, so that they repeat.
struct Heads {
  int64_t size[4] = {1, 1, 1, 1}, step[4] = {0, 0, 0, 0};

  Heads(const Shape& shape, const Shape& order, const char* name) {
    const size_t axes = shape.size();
    if (axes > 4 || (!order.empty() && order.size() != axes)) {
      throw Refused(std::string(name) + " has not as many axes as it is to have");
    }
    Shape steps(axes, 1);
    for (size_t axis = axes; axis-- > 1;) steps[axis - 1] = steps[axis] * shape[axis];
    for (size_t axis = 0; axis < axes; ++axis) {
      const size_t from = order.empty() ? axis : static_cast<size_t>(order[axis]);
      size[4 - axes + axis] = shape[from];
      step[4 - axes + axis] = shape[from] == 1 ? 0 : steps[from];
    }
  }

  bool fits(int axis, int64_t wanted) const { return size[axis] == wanted || size[axis] == 1; }
  Strided matrix(const float* data, int64_t image, int64_t head) const {
    return {data + image * step[0] + head * step[1], step[2], step[3]};
  }
};

}  // namespace

NmAttention::NmAttention(const Node& node, const Implementation& use)
    : kernel_(*use.floats),
      scale_(node.number("scale", 1.0f)),
      q_order_(order_of(node, "q_order")),
      k_order_(order_of(node, "k_order")),
      v_order_(order_of(node, "v_order")),
      y_order_(order_of(node, "y_order")) {
  if (!std::isfinite(scale_)) throw Refused("scale is not finite");
  if (!y_order_.empty() && y_order_.back() != static_cast<int64_t>(y_order_.size()) - 1) {
    throw Refused("y_order moves the last axis");
  }
}

void NmAttention::operator()(const Call& call) const {
  const Tensor q = given(call, kQ), k = given(call, kK), v = given(call, kV);
  const std::optional<Tensor> mask = call.input(kMask);
  const size_t axes = q.shape.size();
  if (axes < 3 || k.shape.size() != axes || v.shape.size() != axes) throw Refused("Q, K and V have not 3 or 4 axes each");
  const Heads of_q(q.shape, q_order_, "Q"), of_k(k.shape, k_order_, "K"), of_v(v.shape, v_order_, "V");
  const Heads of_mask(mask ? mask->shape : Shape{}, {}, "the mask");
  if (mask && mask->shape.size() > axes) throw Refused("the mask has more axes than Q");
  Shape shape(4, 1);
  for (int axis = 0; axis < 2; ++axis) {
    for (const Heads* each : {&of_q, &of_k, &of_v}) shape[axis] = each->size[axis] == 1 ? shape[axis] : each->size[axis];
    for (const Heads* each : {&of_q, &of_k, &of_v, &of_mask}) {
      if (!each->fits(axis, shape[axis])) throw Refused("Q, K, V and the mask have different numbers of heads");
    }
  }
  const int64_t queries = of_q.size[2], inputs = of_q.size[3], keys = of_k.size[3], outputs = of_v.size[3];
  if (of_k.size[2] != inputs || of_v.size[2] != keys) throw Refused("Q, K and V don't fit each other");
  if (!of_mask.fits(2, queries) || !of_mask.fits(3, keys)) throw Refused("the mask doesn't fit Q and K");
  shape[2] = queries, shape[3] = outputs;
  const Shape in_order(shape.end() - static_cast<int64_t>(axes), shape.end());
  Shape of_y = in_order;
  for (size_t axis = 0; axis < axes && !y_order_.empty(); ++axis) {
    if (y_order_.size() != axes) throw Refused("y_order has not as many axes as Q");
    of_y[axis] = in_order[static_cast<size_t>(y_order_[axis])];
  }
  size_of(of_y);
  const Tensor y = call.output(of_y);
  if (!y.size()) return;
  if (!keys) throw Refused("there are no keys");
  Shape back(y_order_.size());
  for (size_t axis = 0; axis < back.size(); ++axis) back[static_cast<size_t>(y_order_[axis])] = static_cast<int64_t>(axis);
  const Heads to(of_y, back, "Y");

  const int64_t heads = shape[0] * shape[1];
  const int64_t parts = std::clamp<int64_t>((kFewTasks + heads - 1) / heads, 1, std::max<int64_t>(queries / kFewestQueries, 1));
  const int64_t room = kernel_.attention_buffer(keys, inputs, outputs);
  for_each(call.parallel(), static_cast<size_t>(heads * parts), [&](size_t task) {
    const int64_t head = static_cast<int64_t>(task) / parts, image = head / shape[1], of_image = head % shape[1];
    const Span some = part_of(queries, parts, 1, static_cast<int64_t>(task) % parts);
    Attention how{of_q.matrix(q.as<float>(), image, of_image),
                  of_k.matrix(k.as<float>(), image, of_image),
                  of_v.matrix(v.as<float>(), image, of_image),
                  of_mask.matrix(mask ? mask->as<float>() : nullptr, mask ? image : 0, mask ? of_image : 0),
                  y.as<float>() + image * to.step[0] + of_image * to.step[1],
                  to.step[2],
                  some.length(),
                  keys,
                  inputs,
                  outputs,
                  scale_};
    how.q.data = how.q.at(some.first);
    if (mask) how.mask.data = how.mask.at(some.first);
    how.y += some.first * how.y_row;
    kernel_.attend(how, reinterpret_cast<float*>(scratch(static_cast<size_t>(room) * sizeof(float))));
  });
}

}  // namespace domino
