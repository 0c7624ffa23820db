#define FLOAT_LANES 8
#define FLOAT_NAME float_avx2
#include "float_kernel.inc"
