# macOS on Apple silicon with the clang of zig, which brings the headers of the system; RFACONV_ZIG names its program.
set(CMAKE_SYSTEM_NAME Darwin)
set(CMAKE_SYSTEM_PROCESSOR arm64)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES RFACONV_ZIG)
set(CMAKE_CXX_COMPILER "${RFACONV_ZIG}" c++)
set(CMAKE_CXX_FLAGS_INIT "-target aarch64-macos.11.0-none")
set(CMAKE_OSX_DEPLOYMENT_TARGET "" CACHE STRING "in the target")
set(CMAKE_OSX_SYSROOT "" CACHE STRING "zig's own")
