"""The platforms that wheels are built for, and how."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PLATFORMS", "Platform"]


@dataclass(frozen=True)
class Platform:
    """One wheel.

    Attributes:
        name: What it is called on the command line.
        tag: Platform tag of the wheel; of Linux the one before ``auditwheel repair``.
        toolchain: CMake toolchain file in ``toolchains/``, None for the compiler of this machine.
        needs: Programs of the distribution that must be there.
        isas: Instruction sets whose tests are built and run.
        emulator: Program that runs what was built for it here; empty: this machine does; None:
            nothing does.
    """

    name: str
    tag: str
    toolchain: str | None
    needs: tuple[str, ...]
    isas: tuple[str, ...]
    emulator: tuple[str, ...] | None

    @property
    def linux(self) -> bool:
        """Whether auditwheel finds the final tag."""
        return self.tag.startswith("linux")


PLATFORMS = (
    Platform(
        name="linux-x86_64",
        tag="linux_x86_64",
        toolchain=None,
        needs=("g++",),
        isas=("scalar", "avx2", "avx512"),
        emulator=(),
    ),
    Platform(
        name="linux-aarch64",
        tag="linux_aarch64",
        toolchain="aarch64.cmake",
        needs=("aarch64-linux-gnu-g++", "qemu-aarch64"),
        isas=("scalar", "neon"),
        emulator=("qemu-aarch64", "-cpu", "max,sve=off", "-L", "/usr/aarch64-linux-gnu"),
    ),
    Platform(
        name="windows-x86_64",
        tag="win_amd64",
        toolchain="windows.cmake",
        needs=("x86_64-w64-mingw32-g++-posix", "x86_64-w64-mingw32-objdump", "wine"),
        isas=("scalar", "avx2", "avx512"),
        emulator=("wine",),
    ),
    Platform(
        name="macos-arm64",
        tag="macosx_11_0_arm64",
        toolchain="macos.cmake",
        needs=(),
        isas=(),
        emulator=None,
    ),
)
