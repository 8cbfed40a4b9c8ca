/* Running a block of threads (emu_fibres.cc). */
#ifndef STRATA_EMU_FIBRES_H
#define STRATA_EMU_FIBRES_H

#include "cuda_runtime.h"

static const unsigned EMU_THREADS_MOST = 1024;

/* Memory for the fibres' stacks, once; false: there is none. */
bool emu_open_stacks();

/* Runs the threads of block blockIdx; false when they did what makes a launch fail: waited for
 * others which never come, or for the launch before them more or less often than a dependent launch
 * has to. */
bool emu_run_block(const EmuBody &body, unsigned threads, bool dependent, bool backwards);

#endif
