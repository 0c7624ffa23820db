#include "implementations.h"

#include <cstdlib>
#include <cstring>

#include "weights.h"

namespace domino {

extern const FloatKernel float_plain;
extern const ByteKernel bytes_plain;
#ifdef DOMINO_X86
extern const FloatKernel float_avx2, float_avx512;
extern const ByteKernel bytes_avx2, bytes_avxvnni, bytes_avx512;
#endif

namespace {

bool always() { return true; }

#ifdef DOMINO_X86
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avxvnni() {
  uint32_t eax = 7, ebx = 0, ecx = 1, edx = 0;  // leaf 7, subleaf 1: bit 4 of EAX; no compiler has a name for all CPUs
  __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  return has_avx2() && (eax >> 4 & 1);
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
}
#endif

}  // namespace

const std::vector<Implementation>& implementations() {
  static const std::vector<Implementation> found = [] {
    const Implementation all[] = {
        {"plain", &float_plain, &bytes_plain, always},
#ifdef DOMINO_X86
        {"avx2", &float_avx2, &bytes_avx2, has_avx2},
        {"avxvnni", &float_avx2, &bytes_avxvnni, has_avxvnni},
        {"avx512", &float_avx512, &bytes_avx512, has_avx512},
#endif
    };
#ifdef DOMINO_X86
    __builtin_cpu_init();
#endif
    std::vector<Implementation> supported;
    for (const Implementation& each : all) {
      if (each.is_supported()) supported.push_back(each);
    }
    return supported;
  }();
  return found;
}

const Implementation& chosen() {
  const char* name = std::getenv("DOMINO_ONNX_KERNELS");
  if (!name || !*name) return implementations().back();
  for (const Implementation& each : implementations()) {
    if (!std::strcmp(each.name, name)) return each;
  }
  std::string known;
  for (const Implementation& each : implementations()) known += std::string(known.empty() ? "" : ", ") + each.name;
  throw Refused("DOMINO_ONNX_KERNELS is " + std::string(name) + ", and this processor has " + known);
}

}  // namespace domino
