// The operators as ONNX Runtime sees them. No exception passes this border.
#include <exception>
#include <string>
#include <vector>

#include "kernels.h"

#ifdef _WIN32
#define DOMINO_EXPORT extern "C" __declspec(dllexport)
#else
#define DOMINO_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace domino {
namespace {

const ort::Api* api = nullptr;

// Runs `work`; what it throws becomes a status.
template <class Work>
ort::Status* guarded(const char* name, Work&& work) noexcept {
  try {
    work();
    return nullptr;
  } catch (const Failed& failed) {
    return failed.status;
  } catch (const Refused& refused) {
    return api->CreateStatus(ort::kInvalidArgument, (std::string(name) + ": " + refused.what()).c_str());
  } catch (const std::exception& error) {
    return api->CreateStatus(ort::kFail, error.what());
  }
}

// What there is to say of an operator besides its kernel.
struct Signature {
  const char* name;
  std::vector<ort::ElementType> inputs;
  size_t required;  // the other inputs are optional
  ort::ElementType y;
};

template <class Kernel>
struct Operator {
  static Signature signature;

  static ort::ElementType ORT_CALL input_type(const ort::CustomOp*, size_t index) { return signature.inputs[index]; }
  static ort::Characteristic ORT_CALL input_kind(const ort::CustomOp*, size_t index) {
    return index < signature.required ? ort::kRequired : ort::kOptional;
  }
  static ort::Status* ORT_CALL create(const ort::CustomOp*, const ort::Api*, const ort::KernelInfo* info, void** out) {
    return guarded(signature.name, [&] { *out = new Kernel(Node(*api, info), chosen()); });
  }
  static ort::Status* ORT_CALL compute(void* kernel, ort::KernelContext* context) {
    return guarded(signature.name, [&] { (*static_cast<const Kernel*>(kernel))(Call(*api, context)); });
  }

  static const ort::CustomOp* get() {
    static const ort::CustomOp op = [] {
      ort::CustomOp made{};
      made.version = ort::kApiVersion;
      made.GetName = [](const ort::CustomOp*) { return signature.name; };
      made.GetExecutionProviderType = [](const ort::CustomOp*) -> const char* { return nullptr; };
      made.GetInputType = input_type;
      made.GetInputTypeCount = [](const ort::CustomOp*) { return signature.inputs.size(); };
      made.GetOutputType = [](const ort::CustomOp*, size_t) { return signature.y; };
      made.GetOutputTypeCount = [](const ort::CustomOp*) { return size_t{1}; };
      made.KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
      made.GetInputCharacteristic = input_kind;
      made.GetOutputCharacteristic = [](const ort::CustomOp*, size_t) { return ort::kRequired; };
      made.GetInputMemoryType = [](const ort::CustomOp*, size_t) { return 0; };
      made.GetVariadicInputMinArity = [](const ort::CustomOp*) { return 1; };
      made.GetVariadicInputHomogeneity = [](const ort::CustomOp*) { return 1; };
      made.GetVariadicOutputMinArity = [](const ort::CustomOp*) { return 1; };
      made.GetVariadicOutputHomogeneity = [](const ort::CustomOp*) { return 1; };
      made.CreateKernelV2 = create;
      made.KernelComputeV2 = compute;
      made.GetStartVersion = [](const ort::CustomOp*) { return 1; };
      made.GetEndVersion = [](const ort::CustomOp*) { return kDomainVersion; };
      return made;
    }();
    return &op;
  }
};

constexpr ort::ElementType kFloat = ort::kFloat, kUint8 = ort::kUint8, kInt8 = ort::kInt8;

template <>
Signature Operator<NmConv>::signature = {"NmConv", {kFloat, kFloat, kUint8, kFloat, kFloat}, kBias, kFloat};
template <>
Signature Operator<NmMatMul>::signature = {"NmMatMul", {kFloat, kFloat, kUint8, kFloat, kFloat}, kBias, kFloat};
template <>
Signature Operator<NmMatMulInt8>::signature = {
    "NmMatMulInt8", {kFloat, kInt8, kUint8, kFloat, kFloat, kFloat}, kOffsets, kFloat};
template <>
Signature Operator<NmConvInt8>::signature = {
    "NmConvInt8", {kUint8, kInt8, kUint8, kFloat, kFloat, kUint8}, kByteResidual, kUint8};
template <>
Signature Operator<NmActivation>::signature = {"NmActivation", {kFloat}, 1, kFloat};
template <>
Signature Operator<NmAttention>::signature = {"NmAttention", {kFloat, kFloat, kFloat, kFloat}, kMask, kFloat};
template <>
Signature Operator<NmToBytes>::signature = {"NmToBytes", {kFloat}, 1, kUint8};
template <>
Signature Operator<NmToFloats>::signature = {"NmToFloats", {kUint8}, 1, kFloat};
template <>
Signature Operator<NmPoolInt8>::signature = {"NmPoolInt8", {kUint8}, 1, kUint8};
template <>
Signature Operator<NmUpsampleInt8>::signature = {"NmUpsampleInt8", {kUint8}, 1, kUint8};
template <>
Signature Operator<NmGlobalAveragePoolInt8>::signature = {"NmGlobalAveragePoolInt8", {kUint8}, 1, kFloat};

// Made once a process: it belongs to all sessions, and lives as long as the library.
ort::OpDomain* domain() {
  static ort::OpDomain* const made = [] {
    ort::OpDomain* domain = nullptr;
    pass(api->CreateCustomOpDomain("domino_onnx", &domain));
    for (const ort::CustomOp* op : {Operator<NmConv>::get(), Operator<NmMatMul>::get(), Operator<NmMatMulInt8>::get(),
                                    Operator<NmConvInt8>::get(), Operator<NmToBytes>::get(), Operator<NmActivation>::get(),
                                    Operator<NmAttention>::get(),
                                    Operator<NmToFloats>::get(), Operator<NmPoolInt8>::get(),
                                    Operator<NmUpsampleInt8>::get(), Operator<NmGlobalAveragePoolInt8>::get()}) {
      pass(api->CustomOpDomain_Add(domain, op));
    }
    return domain;
  }();
  return made;
}

}  // namespace
}  // namespace domino

// What ONNX Runtime looks for in a library that is registered with its session options.
DOMINO_EXPORT ort::Status* ORT_CALL RegisterCustomOps(ort::SessionOptions* options, const ort::ApiBase* base) {
  using namespace domino;
  const ort::Api* found = base->GetApi(ort::kApiVersion);
  if (!found) return nullptr;  // older than all that have ParallelFor: the operators are then missing, and it says so
  api = found;
  return guarded("domino_onnx", [&] {
    chosen();
    pass(api->AddCustomOpDomain(options, domain()));
  });
}

// The instruction sets that run here, the best one last, as names with commas between them.
DOMINO_EXPORT const char* domino_onnx_instruction_sets() {
  static const std::string names = [] {
    std::string joined;
    for (const domino::Implementation& each : domino::implementations()) {
      joined += (joined.empty() ? "" : ",") + std::string(each.name);
    }
    return joined;
  }();
  return names.c_str();
}
