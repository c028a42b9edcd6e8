// The declarations of cuDNN's recurrent networks that the stand-in needs;
// included by cudnn.h of this folder, where NVIDIA's headers are not installed.
#pragma once

struct cudnnTensorStruct;
struct cudnnDropoutStruct;
struct cudnnRNNStruct;
struct cudnnRNNDataStruct;
typedef struct cudnnTensorStruct *cudnnTensorDescriptor_t;
typedef struct cudnnDropoutStruct *cudnnDropoutDescriptor_t;
typedef struct cudnnRNNStruct *cudnnRNNDescriptor_t;
typedef struct cudnnRNNDataStruct *cudnnRNNDataDescriptor_t;

typedef enum {
  CUDNN_RNN_ALGO_STANDARD = 0,
  CUDNN_RNN_ALGO_PERSIST_STATIC = 1,
} cudnnRNNAlgo_t;

typedef enum {
  CUDNN_FWD_MODE_INFERENCE = 0,
  CUDNN_FWD_MODE_TRAINING = 1,
} cudnnForwardMode_t;

typedef enum {
  CUDNN_RNN_RELU = 0,
  CUDNN_RNN_TANH = 1,
  CUDNN_LSTM = 2,
  CUDNN_GRU = 3,
} cudnnRNNMode_t;

typedef enum {
  CUDNN_RNN_NO_BIAS = 0,
  CUDNN_RNN_DOUBLE_BIAS = 2,
} cudnnRNNBiasMode_t;

typedef enum {
  CUDNN_UNIDIRECTIONAL = 0,
  CUDNN_BIDIRECTIONAL = 1,
} cudnnDirectionMode_t;

typedef enum { CUDNN_LINEAR_INPUT = 0 } cudnnRNNInputMode_t;

typedef enum {
  CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_UNPACKED = 0,
  CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED = 1,
  CUDNN_RNN_DATA_LAYOUT_BATCH_MAJOR_UNPACKED = 2,
} cudnnRNNDataLayout_t;

typedef enum {
  CUDNN_DEFAULT_MATH = 0,
  CUDNN_TENSOR_OP_MATH = 1,
  CUDNN_FMA_MATH = 3,
} cudnnMathType_t;

typedef enum { CUDNN_WGRAD_MODE_ADD = 0 } cudnnWgradMode_t;

#define CUDNN_RNN_PADDED_IO_ENABLED (1U << 0)

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t *);
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t);
cudnnStatus_t cudnnSetTensorNdDescriptor(cudnnTensorDescriptor_t,
                                         cudnnDataType_t, int, const int *,
                                         const int *);
cudnnStatus_t cudnnCreateDropoutDescriptor(cudnnDropoutDescriptor_t *);
cudnnStatus_t cudnnDestroyDropoutDescriptor(cudnnDropoutDescriptor_t);
cudnnStatus_t cudnnSetDropoutDescriptor(cudnnDropoutDescriptor_t,
                                        cudnnHandle_t, float, void *, size_t,
                                        unsigned long long);
cudnnStatus_t cudnnCreateRNNDescriptor(cudnnRNNDescriptor_t *);
cudnnStatus_t cudnnDestroyRNNDescriptor(cudnnRNNDescriptor_t);
cudnnStatus_t cudnnSetRNNDescriptor_v8(
    cudnnRNNDescriptor_t, cudnnRNNAlgo_t, cudnnRNNMode_t, cudnnRNNBiasMode_t,
    cudnnDirectionMode_t, cudnnRNNInputMode_t, cudnnDataType_t, cudnnDataType_t,
    cudnnMathType_t, int32_t, int32_t, int32_t, int32_t,
    cudnnDropoutDescriptor_t, uint32_t);
cudnnStatus_t cudnnCreateRNNDataDescriptor(cudnnRNNDataDescriptor_t *);
cudnnStatus_t cudnnDestroyRNNDataDescriptor(cudnnRNNDataDescriptor_t);
cudnnStatus_t cudnnSetRNNDataDescriptor(cudnnRNNDataDescriptor_t,
                                        cudnnDataType_t, cudnnRNNDataLayout_t,
                                        int, int, int, const int *, void *);
cudnnStatus_t cudnnGetRNNTempSpaceSizes(cudnnHandle_t, cudnnRNNDescriptor_t,
                                        cudnnForwardMode_t,
                                        cudnnRNNDataDescriptor_t, size_t *,
                                        size_t *);
cudnnStatus_t cudnnGetRNNWeightSpaceSize(cudnnHandle_t, cudnnRNNDescriptor_t,
                                         size_t *);
cudnnStatus_t cudnnGetRNNWeightParams(cudnnHandle_t, cudnnRNNDescriptor_t,
                                      int32_t, size_t, const void *, int32_t,
                                      cudnnTensorDescriptor_t, void **,
                                      cudnnTensorDescriptor_t, void **);
cudnnStatus_t cudnnRNNForward(
    cudnnHandle_t, cudnnRNNDescriptor_t, cudnnForwardMode_t, const int32_t *,
    cudnnRNNDataDescriptor_t, const void *, cudnnRNNDataDescriptor_t, void *,
    cudnnTensorDescriptor_t, const void *, void *, cudnnTensorDescriptor_t,
    const void *, void *, size_t, const void *, size_t, void *, size_t, void *);
cudnnStatus_t cudnnRNNBackwardData_v8(
    cudnnHandle_t, cudnnRNNDescriptor_t, const int32_t *,
    cudnnRNNDataDescriptor_t, const void *, const void *,
    cudnnRNNDataDescriptor_t, void *, cudnnTensorDescriptor_t, const void *,
    const void *, void *, cudnnTensorDescriptor_t, const void *, const void *,
    void *, size_t, const void *, size_t, void *, size_t, void *);
cudnnStatus_t cudnnRNNBackwardWeights_v8(
    cudnnHandle_t, cudnnRNNDescriptor_t, cudnnWgradMode_t, const int32_t *,
    cudnnRNNDataDescriptor_t, const void *, cudnnTensorDescriptor_t,
    const void *, cudnnRNNDataDescriptor_t, const void *, size_t, void *,
    size_t, void *, size_t, void *);
