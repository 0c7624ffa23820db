#define FLOAT_LANES 16
#define FLOAT_NAME float_avx512
#include "float_kernel.inc"
