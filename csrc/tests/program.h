// What a test file gives to main: its tests, and the instruction set that it is compiled for.
#ifndef RFACONV_TESTS_PROGRAM_H
#define RFACONV_TESTS_PROGRAM_H

int run_tests();  // the exit status
extern const char tested_isa[];

#ifdef RFACONV_ISA
#define RFACONV_TEXT_OF(name) #name
#define RFACONV_TEXT(name) RFACONV_TEXT_OF(name)
const char tested_isa[] = RFACONV_TEXT(RFACONV_ISA);
#endif

#endif
