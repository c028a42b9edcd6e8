// NVIDIA's runtime wheel lacks this file of the toolkit: the words that its
// headers decorate declarations with, for a host compiler.
#pragma once
#define __host__
#define __device__
#define __global__
#define __shared__
#define __constant__
#define __managed__
#define __align__(n) __attribute__((aligned(n)))
#define __location__(a)
#define __annotate__(a)
#define __specialization_static static
#define __cudart_builtin__
#define __builtin_align__(n) __align__(n)
#define __device_builtin__
#define __device_builtin_texture_type__
#define __device_builtin_surface_type__
#define CUDARTAPI
#define CUDARTAPI_CDECL
#define __nv_tex_surf_type__
#define __grid_constant__
#define __CUDA_ARCH_HAS_FEATURE__(f) 0
