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
  int64_t offset(int64_t image, int64_t head, int64_t row) const {
    return image * step[0] + head * step[1] + row * step[2];
  }
  Strided matrix(const Tensor& tensor, int64_t image, int64_t head, int64_t row = 0) const {
    return {tensor.as<float>() + offset(image, head, row), step[2], step[3]};
  }
};

// What Q, K, V and the mask, their axes in order, say together.
struct Sizes {
  int64_t images = 1, heads = 1, queries, keys, inputs, outputs;

  Sizes(const Heads& q, const Heads& k, const Heads& v, const Heads& mask)
      : queries(q.size[2]), keys(k.size[3]), inputs(q.size[3]), outputs(v.size[3]) {
    for (const Heads* each : {&q, &k, &v, &mask}) {
      images = each->size[0] == 1 ? images : each->size[0];
      heads = each->size[1] == 1 ? heads : each->size[1];
    }
    for (const Heads* each : {&q, &k, &v, &mask}) {
      if (!each->fits(0, images) || !each->fits(1, heads)) {
        throw Refused("Q, K, V and the mask have different numbers of heads");
      }
    }
    if (k.size[2] != inputs || v.size[2] != keys) throw Refused("Q, K and V don't fit each other");
    if (!mask.fits(2, queries) || !mask.fits(3, keys)) throw Refused("the mask doesn't fit Q and K");
  }

  Shape of_y(size_t axes) const {
    const Shape all{images, heads, queries, outputs};
    size_of(all);
    return {all.end() - static_cast<int64_t>(axes), all.end()};
  }
};

// A shape as Transpose leaves it.
Shape in_order(const Shape& shape, const Shape& order) {
  Shape moved = shape;
  for (size_t axis = 0; axis < order.size(); ++axis) moved[axis] = shape[static_cast<size_t>(order[axis])];
  return moved;
}

// The order that takes the axes back.
Shape inverse(const Shape& order) {
  Shape back(order.size());
  for (size_t axis = 0; axis < order.size(); ++axis) {
    back[static_cast<size_t>(order[axis])] = static_cast<int64_t>(axis);
  }
  return back;
}

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
  if (mask && mask->shape.size() > axes) throw Refused("the mask has more axes than Q");
  if (!y_order_.empty() && y_order_.size() != axes) throw Refused("y_order has not as many axes as Q");
  const Heads of_q(q.shape, q_order_, "Q"), of_k(k.shape, k_order_, "K"), of_v(v.shape, v_order_, "V");
  const Heads of_mask(mask ? mask->shape : Shape{}, {}, "the mask");
  const Sizes sizes(of_q, of_k, of_v, of_mask);
  const Tensor y = call.output(in_order(sizes.of_y(axes), y_order_));
  if (!y.size()) return;
  if (!sizes.keys) throw Refused("there are no keys");
  const Heads of_y(y.shape, inverse(y_order_), "Y");

  const int64_t heads = sizes.images * sizes.heads, most = std::max<int64_t>(sizes.queries / kFewestQueries, 1);
  const int64_t parts = std::clamp<int64_t>((kFewTasks + heads - 1) / heads, 1, most);
  const auto room = static_cast<size_t>(kernel_.attention_buffer(sizes.keys, sizes.inputs, sizes.outputs));
  for_each(call.parallel(), static_cast<size_t>(heads * parts), [&](size_t task) {
    const int64_t number = static_cast<int64_t>(task) / parts;
    const int64_t image = number / sizes.heads, head = number % sizes.heads;
    const Span some = part_of(sizes.queries, parts, 1, static_cast<int64_t>(task) % parts);
    const Attention how{of_q.matrix(q, image, head, some.first),
                        of_k.matrix(k, image, head),
                        of_v.matrix(v, image, head),
                        mask ? of_mask.matrix(*mask, image, head, some.first) : Strided{},
                        y.as<float>() + of_y.offset(image, head, some.first),
                        of_y.step[2],
                        some.length(),
                        sizes.keys,
                        sizes.inputs,
                        sizes.outputs,
                        scale_};
    kernel_.attend(how, reinterpret_cast<float*>(scratch(room * sizeof(float))));
  });
}

}  // namespace domino
