// What a library of operators needs of ONNX Runtime's C interface, declared here: its header is in no package.
//
// OrtApi is a table of functions that only grows at its end, so a slot keeps its number in all versions. All slots
// below exist since version 17. The assertions hold each number fast.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef _WIN32
#define ORT_CALL __stdcall
#else
#define ORT_CALL
#endif

namespace ort {

constexpr uint32_t kApiVersion = 17;

struct Status;
struct Value;
struct KernelInfo;
struct KernelContext;
struct TensorInfo;
struct OpDomain;
struct SessionOptions;

enum ErrorCode : int { kFail = 1, kInvalidArgument = 2 };
enum ElementType : int { kFloat = 1, kUint8 = 2, kInt8 = 3 };
enum Characteristic : int { kRequired = 0, kOptional = 1 };

struct Api {
  Status*(ORT_CALL* CreateStatus)(int code, const char* message);
  void* unused_1[25];
  Status*(ORT_CALL* CreateCustomOpDomain)(const char* name, OpDomain** out);
  Status*(ORT_CALL* CustomOpDomain_Add)(OpDomain*, const struct CustomOp*);
  Status*(ORT_CALL* AddCustomOpDomain)(SessionOptions*, OpDomain*);
  void* unused_29[22];
  Status*(ORT_CALL* GetTensorMutableData)(Value*, void** out);
  void* unused_52[9];
  Status*(ORT_CALL* GetDimensionsCount)(const TensorInfo*, size_t* out);
  Status*(ORT_CALL* GetDimensions)(const TensorInfo*, int64_t* out, size_t count);
  void* unused_63[2];
  Status*(ORT_CALL* GetTensorTypeAndShape)(const Value*, TensorInfo** out);
  void* unused_66[19];
  Status*(ORT_CALL* KernelInfoGetAttribute_float)(const KernelInfo*, const char* name, float* out);
  Status*(ORT_CALL* KernelInfoGetAttribute_int64)(const KernelInfo*, const char* name, int64_t* out);
  Status*(ORT_CALL* KernelInfoGetAttribute_string)(const KernelInfo*, const char* name, char* out, size_t* size);
  void* unused_88[2];
  Status*(ORT_CALL* KernelContext_GetInput)(const KernelContext*, size_t index, const Value** out);
  Status*(ORT_CALL* KernelContext_GetOutput)(KernelContext*, size_t index, const int64_t* dims, size_t count,
                                             Value** out);
  void* unused_92[1];
  void(ORT_CALL* ReleaseStatus)(Status*);
  void* unused_94[5];
  void(ORT_CALL* ReleaseTensorTypeAndShapeInfo)(TensorInfo*);
  void* unused_100[62];
  Status*(ORT_CALL* KernelInfoGetAttributeArray_float)(const KernelInfo*, const char* name, float* out, size_t* size);
  Status*(ORT_CALL* KernelInfoGetAttributeArray_int64)(const KernelInfo*, const char* name, int64_t* out, size_t* size);
  void* unused_164[66];
  Status*(ORT_CALL* KernelInfo_GetInputCount)(const KernelInfo*, size_t* out);
  void* unused_231[1];
  Status*(ORT_CALL* KernelInfo_GetInputName)(const KernelInfo*, size_t index, char* out, size_t* size);
  void* unused_233[16];
  Status*(ORT_CALL* KernelInfoGetConstantInput_tensor)(const KernelInfo*, size_t index, int* is_constant,
                                                       const Value** out);
  void* unused_250[24];
  Status*(ORT_CALL* KernelContext_ParallelFor)(const KernelContext*, void (*body)(void*, size_t), size_t total,
                                               size_t batches, void* data);
};

#define ORT_SLOT(name, number) static_assert(offsetof(Api, name) == (number) * sizeof(void*), #name)
ORT_SLOT(CreateCustomOpDomain, 26);
ORT_SLOT(CustomOpDomain_Add, 27);
ORT_SLOT(AddCustomOpDomain, 28);
ORT_SLOT(GetTensorMutableData, 51);
ORT_SLOT(GetDimensionsCount, 61);
ORT_SLOT(GetDimensions, 62);
ORT_SLOT(GetTensorTypeAndShape, 65);
ORT_SLOT(KernelInfoGetAttribute_float, 85);
ORT_SLOT(KernelInfoGetAttribute_int64, 86);
ORT_SLOT(KernelInfoGetAttribute_string, 87);
ORT_SLOT(KernelContext_GetInput, 90);
ORT_SLOT(KernelContext_GetOutput, 91);
ORT_SLOT(ReleaseStatus, 93);
ORT_SLOT(ReleaseTensorTypeAndShapeInfo, 99);
ORT_SLOT(KernelInfoGetAttributeArray_float, 162);
ORT_SLOT(KernelInfoGetAttributeArray_int64, 163);
ORT_SLOT(KernelInfo_GetInputCount, 230);
ORT_SLOT(KernelInfo_GetInputName, 232);
ORT_SLOT(KernelInfoGetConstantInput_tensor, 249);
ORT_SLOT(KernelContext_ParallelFor, 274);
#undef ORT_SLOT

struct ApiBase {
  const Api*(ORT_CALL* GetApi)(uint32_t version);
  const char*(ORT_CALL* GetVersionString)();
};

// One operator. ONNX Runtime reads the members that its `version` has.
struct CustomOp {
  uint32_t version;
  void*(ORT_CALL* CreateKernel)(const CustomOp*, const Api*, const KernelInfo*);
  const char*(ORT_CALL* GetName)(const CustomOp*);
  const char*(ORT_CALL* GetExecutionProviderType)(const CustomOp*);
  ElementType(ORT_CALL* GetInputType)(const CustomOp*, size_t index);
  size_t(ORT_CALL* GetInputTypeCount)(const CustomOp*);
  ElementType(ORT_CALL* GetOutputType)(const CustomOp*, size_t index);
  size_t(ORT_CALL* GetOutputTypeCount)(const CustomOp*);
  void(ORT_CALL* KernelCompute)(void* kernel, KernelContext*);
  void(ORT_CALL* KernelDestroy)(void* kernel);
  Characteristic(ORT_CALL* GetInputCharacteristic)(const CustomOp*, size_t index);
  Characteristic(ORT_CALL* GetOutputCharacteristic)(const CustomOp*, size_t index);
  int(ORT_CALL* GetInputMemoryType)(const CustomOp*, size_t index);
  int(ORT_CALL* GetVariadicInputMinArity)(const CustomOp*);
  int(ORT_CALL* GetVariadicInputHomogeneity)(const CustomOp*);
  int(ORT_CALL* GetVariadicOutputMinArity)(const CustomOp*);
  int(ORT_CALL* GetVariadicOutputHomogeneity)(const CustomOp*);
  Status*(ORT_CALL* CreateKernelV2)(const CustomOp*, const Api*, const KernelInfo*, void** kernel);
  Status*(ORT_CALL* KernelComputeV2)(void* kernel, KernelContext*);
  Status*(ORT_CALL* InferOutputShape)(const CustomOp*, void* context);
  int(ORT_CALL* GetStartVersion)(const CustomOp*);
  int(ORT_CALL* GetEndVersion)(const CustomOp*);
  void* unused[4];
};

}  // namespace ort
