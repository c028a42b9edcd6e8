/**
 * Steps that all directions of minimal filtering share: transforming the tiles
 * of images, and transforming filters; see `winograd.ts`.
 *
 * @module
 */

import type { PlaneSpec } from "./plane_spec.ts";
import { padPlanes } from "./conv_pad.ts";
import { cachedKernel, runKernel, threads } from "./pool.ts";
import { ParameterBlock, Scratch } from "./scratch.ts";
import { points } from "./winograd_algebra.ts";
import { filterKernel, filterParameters } from "./winograd_filters.ts";
import { WildFlag } from "./wild.ts";
import {
  tileKernel,
  tileParameters,
  tileScratchBytes,
} from "./winograd_tiles.ts";

/** Points of a tile. */
export const pointCount: number = points * points;
/** Bytes of transformed tiles that are made before they are used, unless the filters take more. */
const tilesBytes = 2 ** 21;
/** Elements worth a hand-over to another thread. */
export const worthSharing = 2 ** 13;

/** Parameters of the tile kernels. */
export const tileBlock: ParameterBlock = new ParameterBlock(
  tileParameters.length,
);
/** Parameters of the filter kernels. */
export const filterBlock: ParameterBlock = new ParameterBlock(
  filterParameters.length,
);
/** Transformed filters, or their gradients. */
export const transformedFilters: Scratch = new Scratch();
const threadRoom = new Scratch();

/** Results per tile and axis for filters of `size` taps per axis. */
export function stepFor(size: number): 2 | 4 {
  return size === 3 ? 4 : 2;
}

/** Tiles of `images` images of one size. */
export interface Tiling {
  /** Results per tile and axis. */
  readonly step: 2 | 4;
  /** Tiles from top to bottom. */
  readonly down: number;
  /** Tiles from left to right. */
  readonly across: number;
  /** Tiles of all images of a round. */
  readonly count: number;
}

/** Images per round such that transformed tiles of all channels keep to their room. */
export function imagesPerRound(spec: PlaneSpec, tilesPerImage: number): number {
  const channels = spec.inChannels + spec.outChannels;
  const bytes = channels * tilesPerImage * pointCount * 4;
  const filters = spec.inChannels * spec.outChannels * pointCount * 4;
  const most = Math.floor(Math.max(tilesBytes, filters) / bytes);
  return Math.max(1, Math.min(spec.batch, most));
}

/**
 * Elements from point to point for `size` elements each. The 36 places where a
 * tile's points lie must not fall into the same sets of the cache, as they
 * would with a distance near a multiple of 4 KiB.
 */
export function spread(size: number): number {
  return Math.ceil(size / 1024) * 1024 + 80;
}

/** Address of the scratch blocks of the tile and filter kernels. */
export function scratchOfThreads(): number {
  return threadRoom.at(threads() * tileScratchBytes);
}

/** Planes whose tiles are to be transformed. */
export interface Planes {
  /** First plane. */
  readonly source: number;
  /** Images. */
  readonly images: number;
  /** Planes per image. */
  readonly channels: number;
  /** Rows of a plane. */
  readonly height: number;
  /** Columns of a plane. */
  readonly width: number;
  /** Zero rows above; may be negative. */
  readonly top: number;
  /** Zero columns to the left; may be negative. */
  readonly left: number;
}

const flag = new WildFlag();

/**
 * Pads planes and transforms their tiles; returns the address of [points,
 * channels, tiles], or undefined where the planes have wild numbers.
 */
export function transformTiles(
  kind: "input" | "gradient",
  p: Planes,
  t: Tiling,
  padded: Scratch,
  transformed: Scratch,
): number | undefined {
  // What windows reach beyond the tiles themselves.
  const reach = kind === "input" ? points - t.step : 0;
  const rows = t.down * t.step + reach;
  const pitch = t.across + Math.ceil(reach / t.step);
  const planes = padPlanes({
    source: p.source,
    planes: p.images * p.channels,
    height: p.height,
    width: p.width,
    rows,
    pitch,
    top: p.top,
    left: p.left,
    phases: t.step,
    flag,
  }, padded);
  if (flag.raised) return undefined;
  const channelBytes = t.count * 4;
  const pointBytes = 4 * spread(p.channels * t.count);
  const target = transformed.at(pointCount * pointBytes);
  runKernel(
    cachedKernel(`winograd ${kind} ${t.step}`, () => tileKernel(kind, t.step)),
    tileBlock.fill(
      planes,
      pitch,
      rows,
      target,
      pointBytes,
      channelBytes,
      p.channels,
      t.down,
      t.across,
    ),
    p.images * p.channels,
    Math.ceil(worthSharing / (t.down * t.across * pointCount)),
  );
  return target;
}

/** Transforms filters, flipped or not; returns the address of [points, outChannels, pitch]. */
export function transformFilters(
  spec: PlaneSpec,
  w: number,
  flipped: boolean,
): { address: number; pitch: number; pointStride: number } {
  const { inChannels, outChannels } = spec;
  const size = spec.kernelHeight as 3 | 5;
  const pitch = Math.ceil(inChannels / 4) * 4;
  const pointStride = spread(outChannels * pitch);
  const address = transformedFilters.at(pointCount * pointStride * 4);
  runKernel(
    cachedKernel(`winograd filter ${size}`, () => filterKernel(size)),
    filterBlock.fill(
      flipped ? w + (size * size - 1) * 4 : w,
      flipped ? -4 : 4,
      inChannels,
      address,
      pointStride * 4,
      pitch * 4,
      0,
    ),
    outChannels,
    Math.ceil(worthSharing / (pitch * pointCount)),
  );
  return { address, pitch, pointStride };
}
