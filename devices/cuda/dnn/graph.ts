/**
 * Operation graphs of cuDNN as plain data: descriptors with their attributes,
 * and a builder with one method per operation. Nothing here calls the library;
 * `lower.ts` makes the native descriptors.
 *
 * @module
 */

import {
  AttributeName as A,
  AttributeType as T,
  ConvolutionMode,
  DataType,
  DescriptorType as D,
  type PointwiseMode,
  type ReduceOperator,
} from "../../../ffi/cudnn_enums.ts";
import { contiguousStrides } from "../../../core/shape.ts";
import type { DType } from "../../../core/dtype.ts";

/** One value of a table of constants. */
export type OneOf<E> = E[keyof E];

/** Element type of a tensor of a graph. */
export type GraphType = OneOf<typeof DataType>;

/** One attribute of a descriptor. */
export interface Attribute {
  /** `AttributeName`. */
  readonly name: number;
  /** `AttributeType`. */
  readonly type: number;
  /** Its values: numbers (booleans as 0 and 1), or other descriptors. */
  readonly values: readonly number[] | readonly Descriptor[];
}

/** A descriptor to be made. */
export interface Descriptor {
  /** `DescriptorType`. */
  readonly kind: number;
  /** What it says. */
  readonly attributes: readonly Attribute[];
}

/** How a tensor is laid out. */
export interface TensorOptions {
  /** Element type. */
  readonly dtype: GraphType;
  /** Extents. */
  readonly dims: readonly number[];
  /** Steps, in elements; row-major when omitted. */
  readonly strides?: readonly number[];
  /** What the address is a multiple of, in bytes; 16 when omitted. */
  readonly alignment?: number;
}

/** A tensor of a graph. */
export interface GraphTensor extends Descriptor, Required<TensorOptions> {
  /** Its number in the graph. */
  readonly uid: number;
  /** Whether it is handed from operation to operation without memory of its own. */
  readonly virtual: boolean;
  /** Whether it is a number that is passed by its address on the host. */
  readonly byValue: boolean;
}

/** Windows of a convolution, one entry per spatial axis. */
export interface GraphWindows {
  /** Steps from window to window. */
  readonly stride: readonly number[];
  /** Distance of taps. */
  readonly dilation: readonly number[];
  /** Cells added before. */
  readonly before: readonly number[];
  /** Cells added after. */
  readonly after: readonly number[];
}

/** What a pointwise operation may have beside an operand and a result. */
export interface PointwiseOptions {
  /** Second operand. */
  readonly b?: GraphTensor;
  /** Mask of a selection. */
  readonly t?: GraphTensor;
  /** Type in which it is computed; f32 when omitted. */
  readonly compute?: GraphType;
  /** Axis of an index. */
  readonly axis?: number;
}

const graphTypes: Partial<Record<DType, GraphType>> = {
  f32: DataType.FLOAT,
  f64: DataType.DOUBLE,
  f16: DataType.HALF,
  bf16: DataType.BFLOAT16,
  i32: DataType.INT32,
  i64: DataType.INT64,
  i8: DataType.INT8,
  u8: DataType.UINT8,
};

/** cuDNN's name of an element type; undefined where it has none. */
export function graphType(dtype: DType): GraphType | undefined {
  return graphTypes[dtype];
}

/** The type in which values of an element type are computed. */
export function computeTypeOf(dtype: GraphType): GraphType {
  return dtype === DataType.DOUBLE ? DataType.DOUBLE : DataType.FLOAT;
}

/** A descriptor of a kind; attributes that are undefined are left out. */
export function descriptor(
  kind: number,
  attributes: readonly (Attribute | undefined)[],
): Descriptor {
  return { kind, attributes: attributes.filter((a) => a !== undefined) };
}

/** An attribute of numbers. */
export function numbers(
  name: number,
  type: number,
  ...values: readonly number[]
): Attribute {
  return { name, type, values };
}

/** An attribute that refers to another descriptor; undefined when there is none. */
export function refer(
  name: number,
  to: Descriptor | undefined,
): Attribute | undefined {
  return to && { name, type: T.BACKEND_DESCRIPTOR, values: [to] };
}

/** A real number in the type that goes with a computation. */
function real(name: number, compute: GraphType, value: number): Attribute {
  return numbers(name, compute === DataType.DOUBLE ? T.DOUBLE : T.FLOAT, value);
}

/** Builds one graph. Tensors get numbers in the order in which they are declared. */
export class Graph {
  /** Operations, in the order in which they were added. */
  readonly operations: Descriptor[] = [];
  /** Tensors with memory, or by value, in the order in which they were declared: the order of the addresses of a run. */
  readonly bound: GraphTensor[] = [];
  #uid = 0;

  /** Declares a tensor in memory. */
  tensor(options: TensorOptions): GraphTensor {
    const made = this.#declare(options, false, false);
    this.bound.push(made);
    return made;
  }

  /** Declares an intermediate result that needs no memory. */
  virtual(options: TensorOptions): GraphTensor {
    return this.#declare(options, true, false);
  }

  /** Declares a number that is read from the host when the graph runs, of the rank of its neighbours. */
  scalar(dtype: GraphType, rank = 4): GraphTensor {
    const dims = new Array<number>(rank).fill(1);
    const made = this.#declare({ dtype, dims }, false, true);
    this.bound.push(made);
    return made;
  }

  #declare(
    options: TensorOptions,
    virtual: boolean,
    byValue: boolean,
  ): GraphTensor {
    const { dtype, dims, alignment = 16 } = options;
    const { strides = contiguousStrides(dims) } = options;
    const uid = ++this.#uid;
    const { kind, attributes } = descriptor(D.TENSOR_DESCRIPTOR, [
      numbers(A.TENSOR_DATA_TYPE, T.DATA_TYPE, dtype),
      numbers(A.TENSOR_DIMENSIONS, T.INT64, ...dims),
      numbers(A.TENSOR_STRIDES, T.INT64, ...strides),
      numbers(A.TENSOR_UNIQUE_ID, T.INT64, uid),
      numbers(A.TENSOR_BYTE_ALIGNMENT, T.INT64, alignment),
      virtual ? numbers(A.TENSOR_IS_VIRTUAL, T.BOOLEAN, 1) : undefined,
      byValue ? numbers(A.TENSOR_IS_BY_VALUE, T.BOOLEAN, 1) : undefined,
    ]);
    return {
      kind,
      attributes,
      uid,
      dtype,
      dims,
      strides,
      alignment,
      virtual,
      byValue,
    };
  }

  /** Adds an operation of any kind. */
  operation(
    kind: number,
    attributes: readonly (Attribute | undefined)[],
  ): void {
    this.operations.push(descriptor(kind, attributes));
  }

  /** y = x ⋆ w */
  convolution(
    x: GraphTensor,
    w: GraphTensor,
    y: GraphTensor,
    windows: GraphWindows,
  ): void {
    const compute = computeTypeOf(x.dtype);
    const settings = convolutionOf(windows, compute);
    this.operation(D.OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, [
      refer(A.OPERATION_CONVOLUTION_FORWARD_CONV_DESC, settings),
      refer(A.OPERATION_CONVOLUTION_FORWARD_X, x),
      refer(A.OPERATION_CONVOLUTION_FORWARD_W, w),
      refer(A.OPERATION_CONVOLUTION_FORWARD_Y, y),
      real(A.OPERATION_CONVOLUTION_FORWARD_ALPHA, compute, 1),
      real(A.OPERATION_CONVOLUTION_FORWARD_BETA, compute, 0),
    ]);
  }

  /** dx = the adjoint of x ↦ x ⋆ w, applied to dy */
  convolutionData(
    dy: GraphTensor,
    w: GraphTensor,
    dx: GraphTensor,
    windows: GraphWindows,
  ): void {
    const compute = computeTypeOf(dy.dtype);
    const settings = convolutionOf(windows, compute);
    this.operation(D.OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, [
      refer(A.OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, settings),
      refer(A.OPERATION_CONVOLUTION_BWD_DATA_DY, dy),
      refer(A.OPERATION_CONVOLUTION_BWD_DATA_W, w),
      refer(A.OPERATION_CONVOLUTION_BWD_DATA_DX, dx),
      real(A.OPERATION_CONVOLUTION_BWD_DATA_ALPHA, compute, 1),
      real(A.OPERATION_CONVOLUTION_BWD_DATA_BETA, compute, 0),
    ]);
  }

  /** dw = the adjoint of w ↦ x ⋆ w, applied to dy */
  convolutionFilter(
    x: GraphTensor,
    dy: GraphTensor,
    dw: GraphTensor,
    windows: GraphWindows,
  ): void {
    const compute = computeTypeOf(dy.dtype);
    const settings = convolutionOf(windows, compute);
    this.operation(D.OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, [
      refer(A.OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, settings),
      refer(A.OPERATION_CONVOLUTION_BWD_FILTER_X, x),
      refer(A.OPERATION_CONVOLUTION_BWD_FILTER_DY, dy),
      refer(A.OPERATION_CONVOLUTION_BWD_FILTER_DW, dw),
      real(A.OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, compute, 1),
      real(A.OPERATION_CONVOLUTION_BWD_FILTER_BETA, compute, 0),
    ]);
  }

  /** y = mode(x), mode(x, b) or, for a selection, t ? x : b */
  pointwise(
    mode: OneOf<typeof PointwiseMode>,
    x: GraphTensor,
    y: GraphTensor,
    { b, t, compute = DataType.FLOAT, axis }: PointwiseOptions = {},
  ): void {
    const settings = descriptor(D.POINTWISE_DESCRIPTOR, [
      numbers(A.POINTWISE_MODE, T.POINTWISE_MODE, mode),
      numbers(A.POINTWISE_MATH_PREC, T.DATA_TYPE, compute),
      axis === undefined ? undefined : numbers(A.POINTWISE_AXIS, T.INT64, axis),
    ]);
    this.operation(D.OPERATION_POINTWISE_DESCRIPTOR, [
      refer(A.OPERATION_POINTWISE_PW_DESCRIPTOR, settings),
      refer(A.OPERATION_POINTWISE_XDESC, x),
      refer(A.OPERATION_POINTWISE_BDESC, b),
      refer(A.OPERATION_POINTWISE_TDESC, t),
      refer(A.OPERATION_POINTWISE_YDESC, y),
    ]);
  }

  /** c = a·b over the last two axes; the others are batches, of extent 1 where a factor repeats */
  matmul(
    a: GraphTensor,
    b: GraphTensor,
    c: GraphTensor,
    compute: GraphType = DataType.FLOAT,
  ): void {
    const settings = descriptor(D.MATMUL_DESCRIPTOR, [
      numbers(A.MATMUL_COMP_TYPE, T.DATA_TYPE, compute),
    ]);
    this.operation(D.OPERATION_MATMUL_DESCRIPTOR, [
      refer(A.OPERATION_MATMUL_DESC, settings),
      refer(A.OPERATION_MATMUL_ADESC, a),
      refer(A.OPERATION_MATMUL_BDESC, b),
      refer(A.OPERATION_MATMUL_CDESC, c),
    ]);
  }

  /** y = x reduced along the axes where y has extent 1 */
  reduce(
    operator: OneOf<typeof ReduceOperator>,
    x: GraphTensor,
    y: GraphTensor,
    compute: GraphType = DataType.FLOAT,
  ): void {
    const settings = descriptor(D.REDUCTION_DESCRIPTOR, [
      numbers(A.REDUCTION_OPERATOR, T.REDUCTION_OPERATOR_TYPE, operator),
      numbers(A.REDUCTION_COMP_TYPE, T.DATA_TYPE, compute),
    ]);
    this.operation(D.OPERATION_REDUCTION_DESCRIPTOR, [
      refer(A.OPERATION_REDUCTION_DESC, settings),
      refer(A.OPERATION_REDUCTION_XDESC, x),
      refer(A.OPERATION_REDUCTION_YDESC, y),
    ]);
  }

  /** y = the elements of x under other extents */
  reshape(x: GraphTensor, y: GraphTensor): void {
    this.operation(D.OPERATION_RESHAPE_DESCRIPTOR, [
      refer(A.OPERATION_RESHAPE_XDESC, x),
      refer(A.OPERATION_RESHAPE_YDESC, y),
    ]);
  }
}

function convolutionOf(
  { stride, dilation, before, after }: GraphWindows,
  compute: GraphType,
): Descriptor {
  return descriptor(D.CONVOLUTION_DESCRIPTOR, [
    numbers(A.CONVOLUTION_COMP_TYPE, T.DATA_TYPE, compute),
    numbers(
      A.CONVOLUTION_CONV_MODE,
      T.CONVOLUTION_MODE,
      ConvolutionMode.CROSS_CORRELATION,
    ),
    numbers(A.CONVOLUTION_SPATIAL_DIMS, T.INT64, stride.length),
    numbers(A.CONVOLUTION_DILATIONS, T.INT64, ...dilation),
    numbers(A.CONVOLUTION_FILTER_STRIDES, T.INT64, ...stride),
    numbers(A.CONVOLUTION_PRE_PADDINGS, T.INT64, ...before),
    numbers(A.CONVOLUTION_POST_PADDINGS, T.INT64, ...after),
  ]);
}
