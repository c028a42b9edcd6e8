// Which attributes each descriptor has, in which type and number.
#include "cudnn_stand_in.h"

#include <cstdarg>
#include <cstring>

namespace dnn {

namespace {
constexpr int64_t many = 1 << 20;
constexpr bool needed = true, optional = false;
constexpr int D = CUDNN_TYPE_BACKEND_DESCRIPTOR, I = CUDNN_TYPE_INT64,
              F = CUDNN_TYPE_FLOAT, F64 = CUDNN_TYPE_DOUBLE,
              B = CUDNN_TYPE_BOOLEAN, E = CUDNN_TYPE_DATA_TYPE,
              FR = CUDNN_TYPE_FRACTION;
} // namespace

const std::vector<Rule> &rules() {
  static const std::vector<Rule> all = {
#define ONE(kind, name, type, need)                                            \
  {CUDNN_BACKEND_##kind##_DESCRIPTOR, CUDNN_ATTR_##name, type, -1, 1, 1, need}
#define LIST(kind, name, type, need)                                           \
  {CUDNN_BACKEND_##kind##_DESCRIPTOR, CUDNN_ATTR_##name, type, -1, 1, 8, need}
#define SCALE(kind, name, need)                                                \
  {CUDNN_BACKEND_##kind##_DESCRIPTOR, CUDNN_ATTR_##name, F, F64, 1, 1, need}
      ONE(TENSOR, TENSOR_DATA_TYPE, E, needed),
      LIST(TENSOR, TENSOR_DIMENSIONS, I, needed),
      LIST(TENSOR, TENSOR_STRIDES, I, needed),
      ONE(TENSOR, TENSOR_UNIQUE_ID, I, needed),
      ONE(TENSOR, TENSOR_BYTE_ALIGNMENT, I, needed),
      ONE(TENSOR, TENSOR_IS_VIRTUAL, B, optional),
      ONE(TENSOR, TENSOR_IS_BY_VALUE, B, optional),

      ONE(CONVOLUTION, CONVOLUTION_COMP_TYPE, E, needed),
      ONE(CONVOLUTION, CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE,
          needed),
      ONE(CONVOLUTION, CONVOLUTION_SPATIAL_DIMS, I, needed),
      LIST(CONVOLUTION, CONVOLUTION_DILATIONS, I, needed),
      LIST(CONVOLUTION, CONVOLUTION_FILTER_STRIDES, I, needed),
      LIST(CONVOLUTION, CONVOLUTION_PRE_PADDINGS, I, needed),
      LIST(CONVOLUTION, CONVOLUTION_POST_PADDINGS, I, needed),

#define CONV(kind, prefix, a, b, c)                                            \
  ONE(OPERATION_CONVOLUTION_##kind, OPERATION_CONVOLUTION_##prefix##_CONV_DESC,\
      D, needed),                                                              \
      ONE(OPERATION_CONVOLUTION_##kind,                                        \
          OPERATION_CONVOLUTION_##prefix##_##a, D, needed),                    \
      ONE(OPERATION_CONVOLUTION_##kind,                                        \
          OPERATION_CONVOLUTION_##prefix##_##b, D, needed),                    \
      ONE(OPERATION_CONVOLUTION_##kind,                                        \
          OPERATION_CONVOLUTION_##prefix##_##c, D, needed),                    \
      SCALE(OPERATION_CONVOLUTION_##kind,                                      \
            OPERATION_CONVOLUTION_##prefix##_ALPHA, needed),                   \
      SCALE(OPERATION_CONVOLUTION_##kind,                                      \
            OPERATION_CONVOLUTION_##prefix##_BETA, needed)
      CONV(FORWARD, FORWARD, X, W, Y), CONV(BACKWARD_DATA, BWD_DATA, DX, W, DY),
      CONV(BACKWARD_FILTER, BWD_FILTER, X, DW, DY),
#undef CONV

      ONE(POINTWISE, POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, needed),
      ONE(POINTWISE, POINTWISE_MATH_PREC, E, needed),
      ONE(POINTWISE, POINTWISE_AXIS, I, optional),
      SCALE(POINTWISE, POINTWISE_RELU_LOWER_CLIP, optional),
      SCALE(POINTWISE, POINTWISE_RELU_UPPER_CLIP, optional),
      SCALE(POINTWISE, POINTWISE_RELU_LOWER_CLIP_SLOPE, optional),
      SCALE(POINTWISE, POINTWISE_ELU_ALPHA, optional),
      SCALE(POINTWISE, POINTWISE_SOFTPLUS_BETA, optional),
      SCALE(POINTWISE, POINTWISE_SWISH_BETA, optional),
      ONE(OPERATION_POINTWISE, OPERATION_POINTWISE_PW_DESCRIPTOR, D, needed),
      ONE(OPERATION_POINTWISE, OPERATION_POINTWISE_XDESC, D, optional),
      ONE(OPERATION_POINTWISE, OPERATION_POINTWISE_BDESC, D, optional),
      ONE(OPERATION_POINTWISE, OPERATION_POINTWISE_TDESC, D, optional),
      ONE(OPERATION_POINTWISE, OPERATION_POINTWISE_YDESC, D, optional),
      ONE(OPERATION_POINTWISE, OPERATION_POINTWISE_DXDESC, D, optional),
      ONE(OPERATION_POINTWISE, OPERATION_POINTWISE_DYDESC, D, optional),
      SCALE(OPERATION_POINTWISE, OPERATION_POINTWISE_ALPHA1, optional),
      SCALE(OPERATION_POINTWISE, OPERATION_POINTWISE_ALPHA2, optional),

      ONE(MATMUL, MATMUL_COMP_TYPE, E, needed),
      ONE(OPERATION_MATMUL, OPERATION_MATMUL_DESC, D, needed),
      ONE(OPERATION_MATMUL, OPERATION_MATMUL_ADESC, D, needed),
      ONE(OPERATION_MATMUL, OPERATION_MATMUL_BDESC, D, needed),
      ONE(OPERATION_MATMUL, OPERATION_MATMUL_CDESC, D, needed),

      ONE(REDUCTION, REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE,
          needed),
      ONE(REDUCTION, REDUCTION_COMP_TYPE, E, needed),
      ONE(OPERATION_REDUCTION, OPERATION_REDUCTION_DESC, D, needed),
      ONE(OPERATION_REDUCTION, OPERATION_REDUCTION_XDESC, D, needed),
      ONE(OPERATION_REDUCTION, OPERATION_REDUCTION_YDESC, D, needed),

      ONE(OPERATION_RESHAPE, OPERATION_RESHAPE_XDESC, D, needed),
      ONE(OPERATION_RESHAPE, OPERATION_RESHAPE_YDESC, D, needed),

      ONE(RNG, RNG_DISTRIBUTION, CUDNN_TYPE_RNG_DISTRIBUTION, optional),
      ONE(RNG, RNG_BERNOULLI_DIST_PROBABILITY, F64, optional),
      ONE(OPERATION_RNG, OPERATION_RNG_DESC, D, needed),
      ONE(OPERATION_RNG, OPERATION_RNG_YDESC, D, needed),
      {CUDNN_BACKEND_OPERATION_RNG_DESCRIPTOR, CUDNN_ATTR_OPERATION_RNG_SEED, D,
       I, 1, 1, optional},
      ONE(OPERATION_RNG, OPERATION_RNG_OFFSET_DESC, D, optional),

      ONE(RESAMPLE, RESAMPLE_MODE, CUDNN_TYPE_RESAMPLE_MODE, needed),
      ONE(RESAMPLE, RESAMPLE_COMP_TYPE, E, needed),
      ONE(RESAMPLE, RESAMPLE_NAN_PROPAGATION, CUDNN_TYPE_NAN_PROPOGATION,
          optional),
      ONE(RESAMPLE, RESAMPLE_PADDING_MODE, CUDNN_TYPE_PADDING_MODE, needed),
      ONE(RESAMPLE, RESAMPLE_SPATIAL_DIMS, I, needed),
#define WINDOW(name)                                                           \
  {CUDNN_BACKEND_RESAMPLE_DESCRIPTOR, CUDNN_ATTR_RESAMPLE_##name, FR, I, 1, 8, \
   needed}
      WINDOW(WINDOW_DIMS), WINDOW(STRIDES), WINDOW(PRE_PADDINGS),
      WINDOW(POST_PADDINGS),
#undef WINDOW
      ONE(OPERATION_RESAMPLE_FWD, OPERATION_RESAMPLE_FWD_DESC, D, needed),
      ONE(OPERATION_RESAMPLE_FWD, OPERATION_RESAMPLE_FWD_XDESC, D, needed),
      ONE(OPERATION_RESAMPLE_FWD, OPERATION_RESAMPLE_FWD_YDESC, D, needed),
      ONE(OPERATION_RESAMPLE_FWD, OPERATION_RESAMPLE_FWD_IDXDESC, D, optional),
      SCALE(OPERATION_RESAMPLE_FWD, OPERATION_RESAMPLE_FWD_ALPHA, optional),
      SCALE(OPERATION_RESAMPLE_FWD, OPERATION_RESAMPLE_FWD_BETA, optional),
      ONE(OPERATION_RESAMPLE_BWD, OPERATION_RESAMPLE_BWD_DESC, D, needed),
      ONE(OPERATION_RESAMPLE_BWD, OPERATION_RESAMPLE_BWD_DXDESC, D, needed),
      ONE(OPERATION_RESAMPLE_BWD, OPERATION_RESAMPLE_BWD_DYDESC, D, needed),
      ONE(OPERATION_RESAMPLE_BWD, OPERATION_RESAMPLE_BWD_XDESC, D, optional),
      ONE(OPERATION_RESAMPLE_BWD, OPERATION_RESAMPLE_BWD_YDESC, D, optional),
      ONE(OPERATION_RESAMPLE_BWD, OPERATION_RESAMPLE_BWD_IDXDESC, D, optional),
      SCALE(OPERATION_RESAMPLE_BWD, OPERATION_RESAMPLE_BWD_ALPHA, optional),
      SCALE(OPERATION_RESAMPLE_BWD, OPERATION_RESAMPLE_BWD_BETA, optional),

#define NORM(name, need)                                                       \
  ONE(OPERATION_NORM_FORWARD, OPERATION_NORM_FWD_##name, D, need)
      ONE(OPERATION_NORM_FORWARD, OPERATION_NORM_FWD_MODE,
          CUDNN_TYPE_NORM_MODE, needed),
      ONE(OPERATION_NORM_FORWARD, OPERATION_NORM_FWD_PHASE,
          CUDNN_TYPE_NORM_FWD_PHASE, needed),
      NORM(XDESC, needed), NORM(MEAN_DESC, optional),
      NORM(INV_VARIANCE_DESC, optional), NORM(SCALE_DESC, needed),
      NORM(BIAS_DESC, optional), NORM(EPSILON_DESC, needed),
      NORM(EXP_AVG_FACTOR_DESC, optional),
      NORM(INPUT_RUNNING_MEAN_DESC, optional),
      NORM(INPUT_RUNNING_VAR_DESC, optional),
      NORM(OUTPUT_RUNNING_MEAN_DESC, optional),
      NORM(OUTPUT_RUNNING_VAR_DESC, optional), NORM(YDESC, needed),
#undef NORM
#define NORM(name, need)                                                       \
  ONE(OPERATION_NORM_BACKWARD, OPERATION_NORM_BWD_##name, D, need)
      ONE(OPERATION_NORM_BACKWARD, OPERATION_NORM_BWD_MODE,
          CUDNN_TYPE_NORM_MODE, needed),
      NORM(XDESC, needed), NORM(MEAN_DESC, optional),
      NORM(INV_VARIANCE_DESC, optional), NORM(DYDESC, needed),
      NORM(SCALE_DESC, needed), NORM(EPSILON_DESC, optional),
      NORM(DSCALE_DESC, needed), NORM(DBIAS_DESC, optional),
      NORM(DXDESC, needed),
#undef NORM

      ONE(OPERATIONGRAPH, OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, optional),
      {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, CUDNN_ATTR_OPERATIONGRAPH_OPS,
       D, -1, 1, many, needed},

      ONE(ENGINEHEUR, ENGINEHEUR_OPERATION_GRAPH, D, needed),
      ONE(ENGINEHEUR, ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, needed),
      ONE(ENGINEHEUR, ENGINEHEUR_DEVICEPROP, D, optional),
      ONE(EXECUTION_PLAN, EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, optional),
      ONE(EXECUTION_PLAN, EXECUTION_PLAN_ENGINE_CONFIG, D, optional),
      ONE(EXECUTION_PLAN, EXECUTION_PLAN_DEVICEPROP, D, optional),
      {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR,
       CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, -1, 1,
       many, optional},

      {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
       I, -1, 1, many, needed},
      {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR,
       CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, -1, 1, many,
       needed},
      ONE(VARIANT_PACK, VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, optional),

      ONE(DEVICEPROP, DEVICEPROP_DEVICE_ID, CUDNN_TYPE_INT32, optional),
      ONE(DEVICEPROP, DEVICEPROP_HANDLE, CUDNN_TYPE_HANDLE, optional),
      {CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR,
       CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, -1, 1, many,
       optional},
#undef ONE
#undef LIST
#undef SCALE
  };
  return all;
}

const Rule *rule_of(int kind, int name) {
  for (const Rule &rule : rules())
    if (rule.kind == kind && rule.name == name) return &rule;
  return nullptr;
}

const char *kind_name(int kind) {
  switch (kind) {
  case CUDNN_BACKEND_TENSOR_DESCRIPTOR: return "tensor";
  case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR: return "convolution";
  case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
    return "convolution forward";
  case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
    return "convolution backward data";
  case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
    return "convolution backward filter";
  case CUDNN_BACKEND_POINTWISE_DESCRIPTOR: return "pointwise settings";
  case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR: return "pointwise";
  case CUDNN_BACKEND_MATMUL_DESCRIPTOR: return "matmul settings";
  case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR: return "matmul";
  case CUDNN_BACKEND_REDUCTION_DESCRIPTOR: return "reduction settings";
  case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR: return "reduction";
  case CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR: return "reshape";
  case CUDNN_BACKEND_RNG_DESCRIPTOR: return "rng settings";
  case CUDNN_BACKEND_OPERATION_RNG_DESCRIPTOR: return "rng";
  case CUDNN_BACKEND_RESAMPLE_DESCRIPTOR: return "resample settings";
  case CUDNN_BACKEND_OPERATION_RESAMPLE_FWD_DESCRIPTOR: return "resample";
  case CUDNN_BACKEND_OPERATION_RESAMPLE_BWD_DESCRIPTOR:
    return "resample backward";
  case CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR: return "norm";
  case CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR:
    return "norm backward";
  case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR: return "operation graph";
  case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR: return "heuristics";
  case CUDNN_BACKEND_ENGINE_DESCRIPTOR: return "engine";
  case CUDNN_BACKEND_ENGINECFG_DESCRIPTOR: return "engine configuration";
  case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR: return "execution plan";
  case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR: return "variant pack";
  case CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR: return "device properties";
  default: return nullptr;
  }
}

size_t size_of_type(int type) {
  switch (type) {
  case CUDNN_TYPE_BOOLEAN:
  case CUDNN_TYPE_CHAR: return 1;
  case CUDNN_TYPE_FRACTION: return 16;
  case CUDNN_TYPE_HANDLE:
  case CUDNN_TYPE_VOID_PTR:
  case CUDNN_TYPE_INT64:
  case CUDNN_TYPE_DOUBLE:
  case CUDNN_TYPE_BACKEND_DESCRIPTOR: return 8;
  default: return 4;
  }
}

size_t size_of_data(int type) {
  switch (type) {
  case CUDNN_DATA_DOUBLE:
  case CUDNN_DATA_INT64: return 8;
  case CUDNN_DATA_FLOAT:
  case CUDNN_DATA_INT32: return 4;
  case CUDNN_DATA_HALF:
  case CUDNN_DATA_BFLOAT16: return 2;
  default: return 1;
  }
}

std::vector<double> Descriptor::reals(int name) const {
  std::vector<double> out;
  auto it = values.find(name);
  if (it == values.end()) return out;
  const Values &v = it->second;
  for (int64_t i = 0; i < v.count; i++) {
    const uint8_t *p = v.bytes.data() + size_t(i) * size_of_type(v.type);
    if (v.type == CUDNN_TYPE_FLOAT) {
      float f;
      memcpy(&f, p, 4);
      out.push_back(f);
    } else if (v.type == CUDNN_TYPE_DOUBLE) {
      double f;
      memcpy(&f, p, 8);
      out.push_back(f);
    } else if (v.type == CUDNN_TYPE_FRACTION) {
      int64_t f[2];
      memcpy(f, p, 16);
      out.push_back(f[1] == 0 ? 0 : double(f[0]) / double(f[1]));
    } else if (size_of_type(v.type) == 8) {
      int64_t f;
      memcpy(&f, p, 8);
      out.push_back(double(f));
    } else if (size_of_type(v.type) == 4) {
      int32_t f;
      memcpy(&f, p, 4);
      out.push_back(f);
    } else out.push_back(*p);
  }
  return out;
}

std::vector<int64_t> Descriptor::ints(int name) const {
  std::vector<int64_t> out;
  for (double value : reals(name)) out.push_back(int64_t(value));
  return out;
}

double Descriptor::real(int name, double otherwise) const {
  auto all = reals(name);
  return all.empty() ? otherwise : all[0];
}

int64_t Descriptor::integer(int name, int64_t otherwise) const {
  auto all = ints(name);
  return all.empty() ? otherwise : all[0];
}

} // namespace dnn
