#define FLOAT_LANES 4
#define FLOAT_NAME float_plain
#include "float_kernel.inc"
