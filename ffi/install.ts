/**
 * What installs NVIDIA's libraries and its driver, for the machine at hand.
 *
 * @module
 */

import type { Surroundings } from "./search.ts";

/** Packages that hold a library. */
export interface Packages {
  /** Wheel, without the mark of the CUDA version. */
  readonly pip: string;
  /** Whether the wheel for CUDA 13 has such a mark too. */
  readonly marked?: boolean;
  /** Package of NVIDIA's repository for apt, by the CUDA version, `13-0`. */
  apt(version: string): string;
  /** Channel and package of conda. */
  readonly conda: string;
}

/** Newest minor version of each CUDA that NVIDIA's packages are named after. */
const minors: Readonly<Record<number, number>> = { 11: 8, 12: 9, 13: 0 };

/** The kind of a Linux, as far as it may be known. */
function linuxKind({ os, text }: Surroundings): string {
  if (os !== "linux") return os;
  if (/microsoft/i.test(text("/proc/version") ?? "")) return "wsl";
  const release = text("/etc/os-release") ?? "";
  const words = [...release.matchAll(/^ID(?:_LIKE)?=(.*)$/gm)]
    .flatMap(([, value]) => value.replaceAll('"', "").split(" "));
  return ["ubuntu", "debian", "fedora", "rhel", "suse"].find((kind) =>
    words.includes(kind)
  ) ?? "linux";
}

/**
 * Commands that install a library.
 *
 * @param packages Where it is.
 * @param machine Where it is to go.
 * @param cuda Major version of the CUDA that it must be for.
 */
export function installing(
  packages: Packages,
  machine: Surroundings,
  cuda: number,
): string[] {
  const { pip, marked = false, conda } = packages;
  const major = Math.min(13, Math.max(11, cuda));
  const mark = major === 13 && !marked ? "" : `-cu${major}`;
  const kind = linuxKind(machine);
  // Where apt is not the packager, its line would only be in the way.
  const apt = ["ubuntu", "debian", "linux", "wsl"].includes(kind)
    ? [
      `apt install ${
        packages.apt(`${major}-${minors[major]}`)
      } from NVIDIA's repository`,
    ]
    : [];
  return [`pip install ${pip}${mark}`, ...apt, `conda install -c ${conda}`];
}

const page = "https://www.nvidia.com/drivers";
const guide =
  "https://docs.nvidia.com/datacenter/tesla/driver-installation-guide";

/** What installs the driver. */
export function installingDriver(machine: Surroundings): string[] {
  const kind = linuxKind(machine);
  switch (kind) {
    case "wsl":
      return [`NVIDIA's driver for Windows, and none inside WSL: ${page}`];
    case "ubuntu":
      return ["ubuntu-drivers install", `NVIDIA's driver from ${page}`];
    case "debian":
      return [
        "apt install nvidia-driver from Debian's section non-free",
        `NVIDIA's driver from ${page}`,
      ];
    case "fedora":
    case "rhel":
      return [
        `dnf install nvidia-open from NVIDIA's repository (${guide})`,
        `NVIDIA's driver from ${page}`,
      ];
    case "linux":
    case "suse":
      return [
        `the package nvidia-open of NVIDIA's repository (${guide})`,
        `NVIDIA's driver from ${page}`,
      ];
    default:
      return [`NVIDIA's driver from ${page}`];
  }
}
