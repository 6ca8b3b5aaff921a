/* Stands for NVIDIA's libnvidia-ml.so.1, on machines without an NVIDIA card.
 *
 * Built by the tests with the system's compiler, put first on LD_LIBRARY_PATH, and loaded by nvidia-ml-py, which does not
 * know the difference. CORRAL_TEST_NVML chooses the machine: `twins` (two RTX 5070 Ti), `mixed` (RTX 5090 and RTX 4090),
 * `single` (one RTX 4090), `lost` (two RTX 5070 Ti, the second fell off the bus), `shared` (one GB10, whose memory the driver does not give),
 * `mismatch` (driver upgraded, old kernel module), `unloaded` (no kernel module).
 *
 * CORRAL_TEST_NVML_LOAD chooses what the cards do while they are watched; a card's time goes on by one step with each
 * question for its utilization: idle (the default), `steady` (full load, warms from its idle temperature to 71 degrees),
 * `hot` (as steady, and the second card warms to 92 degrees, its threshold being 90, and slows down), `brake` (as steady,
 * and the second card is braked for power at its fifth step), `falls` (as steady, and the second card falls off the bus
 * at its fifth step).
 *
 * CORRAL_TEST_NVML_STATE names a file that tests write while the cards are watched; it is read at each question. A line is
 * `used CARD MIB`, `process CARD PID MIB KIND PERCENT` (KIND is C, G or B for both lists; MIB -1 is not available, PERCENT
 * is of the time), `busy CARD PERCENT`, `lost CARD` (as in `lost` above), `gone CARD` (not listed any more; the last one),
 * `unloaded` (every question is answered as after `rmmod nvidia`), `nolists` (the driver lists no processes),
 * `xid CARD NUMBER COUNT` (an event, given once to those that were registered when COUNT rose to this),
 * `ecc CARD COUNT` (memory errors that could not be corrected), `slowed CARD BITS` (reasons for lower clocks, in hex).
 *
 * Signatures, structures and error numbers are those of nvml.h as nvidia-ml-py 13 declares them. Sizes are what cards of
 * these models report: total memory is a little below the nominal size. Bounds of the power limit are of the right order
 * for the model; makers of boards choose them. An idle card's link is slower than its best (generation 1). A lost card
 * still has a handle, name and UUID from the driver's memory, and answers every question about its state with
 * NVML_ERROR_GPU_IS_LOST. Functions that are not here are reported by the binding as NVML_ERROR_FUNCTION_NOT_FOUND, as
 * with an old driver.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  SUCCESS = 0,
  INVALID_ARGUMENT = 2,
  NOT_SUPPORTED = 3,
  NOT_FOUND = 6,
  INSUFFICIENT_SIZE = 7,
  DRIVER_NOT_LOADED = 9,
  TIMEOUT = 10,
  GPU_IS_LOST = 15,
  LIB_RM_VERSION_MISMATCH = 18,
};

#define MIB (1024ULL * 1024ULL)

typedef struct {
  const char *name;
  const char *uuid;
  unsigned long long total, used;
  int major, minor;
  unsigned int limit_mw, celsius;
  int lost, shared;
  unsigned int least_mw, most_mw, usual_mw; /* bounds of the power limit, and what it is without one */
  unsigned int pcie_generation, pcie_width; /* at best */
} Card;

typedef struct {
  const char *name;
  int init;
  unsigned int count;
  Card cards[2];
} Machine;

typedef struct {
  unsigned long long total, free, used;
} Memory;

typedef struct {
  unsigned int gpu, memory;
} Utilization;

#define RTX_5070_TI(uuid, used, lost) \
  { "NVIDIA GeForce RTX 5070 Ti", uuid, 16303 * MIB, used * MIB, 12, 0, 300000, 41, lost, 0, 250000, 350000, 300000, 5, 16 }

static const Machine machines[] = {
    {"twins", SUCCESS, 2,
     {RTX_5070_TI("GPU-11111111-1111-4111-8111-111111111111", 512, 0),
      RTX_5070_TI("GPU-22222222-2222-4222-8222-222222222222", 3, 0)}},
    {"mixed", SUCCESS, 2,
     {{"NVIDIA GeForce RTX 5090", "GPU-55555555-5555-4555-8555-555555555555", 32607 * MIB, 2 * MIB, 12, 0, 575000, 38, 0, 0,
       400000, 600000, 575000, 5, 16},
      {"NVIDIA GeForce RTX 4090", "GPU-44444444-4444-4444-8444-444444444444", 24564 * MIB, 1 * MIB, 8, 9, 400000, 35, 0, 0,
       150000, 600000, 450000, 4, 16}}},
    {"single", SUCCESS, 1,
     {{"NVIDIA GeForce RTX 4090", "GPU-44444444-4444-4444-8444-444444444444", 24564 * MIB, 1 * MIB, 8, 9, 400000, 35, 0, 0,
       150000, 600000, 450000, 4, 16}}},
    {"lost", SUCCESS, 2,
     {RTX_5070_TI("GPU-11111111-1111-4111-8111-111111111111", 512, 0),
      RTX_5070_TI("GPU-22222222-2222-4222-8222-222222222222", 3, 1)}},
    {"shared", SUCCESS, 1,
     {{"NVIDIA GB10", "GPU-33333333-3333-4333-8333-333333333333", 0, 0, 12, 1, 0, 44, 0, 1, 0, 0, 0, 0, 0}}},
    {"mismatch", LIB_RM_VERSION_MISMATCH, 0, {{0}}},
    {"unloaded", DRIVER_NOT_LOADED, 0, {{0}}},
};

static const Machine *machine(void) {
  const char *wanted = getenv("CORRAL_TEST_NVML");
  for (size_t i = 0; wanted && i < sizeof machines / sizeof machines[0]; i++)
    if (strcmp(machines[i].name, wanted) == 0) return &machines[i];
  abort(); /* a test that names no machine is wrong */
}

static int does(const char *load) {
  const char *chosen = getenv("CORRAL_TEST_NVML_LOAD");
  return chosen && strcmp(chosen, load) == 0;
}

static int is_loaded(void) { return does("steady") || does("hot") || does("brake") || does("falls"); }

static unsigned int steps[2];

static size_t place(const Card *card) { return (size_t)(card - machine()->cards); }

enum { MOST = 32 };

typedef struct {
  unsigned int pid;
  long long mib;
  char kind;
  unsigned int percent;
} Running;

typedef struct {
  int lost, gone, busy, count, ecc;
  unsigned int xid, xids, slowed;
  long long used;
  Running running[MOST];
} World;

static World worlds[2];
static int unloaded, nolists;

static void look(void) {
  const char *path = getenv("CORRAL_TEST_NVML_STATE");
  FILE *file = path ? fopen(path, "r") : NULL;
  char line[256], word[32];
  unsigned int card, xids;
  memset(worlds, 0, sizeof worlds);
  worlds[0].used = worlds[1].used = worlds[0].busy = worlds[1].busy = worlds[0].ecc = worlds[1].ecc = -1;
  unloaded = nolists = 0;
  if (!file) return;
  while (fgets(line, sizeof line, file)) {
    Running running;
    if (sscanf(line, "process %u %u %lld %c %u", &card, &running.pid, &running.mib, &running.kind, &running.percent) == 5)
      worlds[card & 1].running[worlds[card & 1].count++ % MOST] = running;
    else if (sscanf(line, "used %u %s", &card, word) == 2)
      worlds[card & 1].used = atoll(word);
    else if (sscanf(line, "busy %u %s", &card, word) == 2)
      worlds[card & 1].busy = atoi(word);
    else if (sscanf(line, "ecc %u %s", &card, word) == 2)
      worlds[card & 1].ecc = atoi(word);
    else if (sscanf(line, "slowed %u %31s", &card, word) == 2)
      worlds[card & 1].slowed = (unsigned int)strtoul(word, NULL, 16);
    else if (sscanf(line, "xid %u %31s %u", &card, word, &xids) == 3) {
      worlds[card & 1].xid = (unsigned int)atoi(word);
      worlds[card & 1].xids = xids;
    }
    else if (sscanf(line, "lost %u", &card) == 1)
      worlds[card & 1].lost = 1;
    else if (sscanf(line, "gone %u", &card) == 1)
      worlds[card & 1].gone = 1;
    else if (strncmp(line, "unloaded", 8) == 0)
      unloaded = 1;
    else if (strncmp(line, "nolists", 7) == 0)
      nolists = 1;
    else
      abort(); /* a test that writes another word is wrong */
  }
  fclose(file);
}

static int is_lost(const Card *card) { return worlds[place(card)].lost || card->lost || (does("falls") && place(card) == 1 && steps[1] >= 5); }

static unsigned int warmth(const Card *card) {
  unsigned int most = does("hot") && place(card) == 1 ? 92 : 71;
  unsigned int now = card->celsius + 8 * steps[place(card)];
  return is_loaded() ? (now < most ? now : most) : card->celsius;
}

static int copy(char *to, unsigned int size, const char *text) {
  strncpy(to, text, size - 1);
  to[size - 1] = '\0';
  return SUCCESS;
}

int nvmlInitWithFlags(unsigned int flags) {
  (void)flags;
  look();
  return unloaded ? DRIVER_NOT_LOADED : machine()->init;
}

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int number) {
  switch (number) {
    case NOT_SUPPORTED: return "Not Supported";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case GPU_IS_LOST: return "GPU is lost";
    case LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
    default: return "Unknown Error";
  }
}

int nvmlSystemGetDriverVersion(char *version, unsigned int size) { return copy(version, size, "580.95.05"); }

int nvmlSystemGetCudaDriverVersion(int *version) {
  *version = 13000;
  return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
  look();
  if (unloaded) return DRIVER_NOT_LOADED;
  *count = machine()->count - worlds[0].gone - worlds[1].gone;
  return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, const Card **card) {
  look();
  if (unloaded) return DRIVER_NOT_LOADED;
  if (index >= machine()->count) return INVALID_ARGUMENT;
  *card = &machine()->cards[index];
  return SUCCESS;
}

int nvmlDeviceGetName(const Card *card, char *name, unsigned int size) { return copy(name, size, card->name); }

int nvmlDeviceGetUUID(const Card *card, char *uuid, unsigned int size) { return copy(uuid, size, card->uuid); }

int nvmlDeviceGetMemoryInfo(const Card *card, Memory *memory) {
  if (is_lost(card)) return GPU_IS_LOST;
  if (card->shared) return NOT_SUPPORTED;
  const World *world = &worlds[place(card)];
  memory->total = card->total;
  memory->used = world->used < 0 ? card->used : (unsigned long long)world->used * MIB;
  memory->free = card->total - memory->used;
  return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(const Card *card, int *major, int *minor) {
  if (is_lost(card)) return GPU_IS_LOST;
  *major = card->major;
  *minor = card->minor;
  return SUCCESS;
}

int nvmlDeviceGetPowerManagementLimit(const Card *card, unsigned int *milliwatts) {
  if (is_lost(card)) return GPU_IS_LOST;
  if (card->shared) return NOT_SUPPORTED;
  *milliwatts = card->limit_mw;
  return SUCCESS;
}

int nvmlDeviceGetPowerManagementDefaultLimit(const Card *card, unsigned int *milliwatts) {
  if (is_lost(card)) return GPU_IS_LOST;
  if (card->shared) return NOT_SUPPORTED;
  *milliwatts = card->usual_mw;
  return SUCCESS;
}

int nvmlDeviceGetPowerManagementLimitConstraints(const Card *card, unsigned int *least, unsigned int *most) {
  if (is_lost(card)) return GPU_IS_LOST;
  if (card->shared) return NOT_SUPPORTED;
  *least = card->least_mw;
  *most = card->most_mw;
  return SUCCESS;
}

static int link_value(const Card *card, unsigned int *to, unsigned int value) {
  if (is_lost(card)) return GPU_IS_LOST;
  if (card->shared) return NOT_SUPPORTED;
  *to = value;
  return SUCCESS;
}

int nvmlDeviceGetMaxPcieLinkGeneration(const Card *card, unsigned int *generation) {
  return link_value(card, generation, card->pcie_generation);
}

int nvmlDeviceGetMaxPcieLinkWidth(const Card *card, unsigned int *width) {
  return link_value(card, width, card->pcie_width);
}

int nvmlDeviceGetCurrPcieLinkGeneration(const Card *card, unsigned int *generation) {
  return link_value(card, generation, is_loaded() ? card->pcie_generation : 1);
}

int nvmlDeviceGetCurrPcieLinkWidth(const Card *card, unsigned int *width) {
  return link_value(card, width, card->pcie_width / 2); /* two cards share the processor's 16 lanes */
}

int nvmlDeviceGetTemperature(const Card *card, int sensor, unsigned int *celsius) {
  (void)sensor;
  if (is_lost(card)) return GPU_IS_LOST;
  *celsius = warmth(card);
  return SUCCESS;
}

int nvmlDeviceGetTemperatureThreshold(const Card *card, int threshold, unsigned int *celsius) {
  if (is_lost(card)) return GPU_IS_LOST;
  if (card->shared || threshold > 1) return NOT_SUPPORTED; /* 0 is shutdown, 1 is slowdown */
  *celsius = threshold == 0 ? 95 : 90;
  return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(const Card *card, Utilization *rates) {
  if (is_lost(card)) return GPU_IS_LOST;
  steps[place(card)]++;
  rates->gpu = worlds[place(card)].busy >= 0 ? (unsigned int)worlds[place(card)].busy : is_loaded() ? 99 : 0;
  rates->memory = is_loaded() ? 40 : 0;
  return SUCCESS;
}

int nvmlDeviceGetClockInfo(const Card *card, int clock, unsigned int *mhz) {
  if (is_lost(card)) return GPU_IS_LOST;
  if (clock != 1 && clock != 2) return NOT_SUPPORTED; /* 1 is SM, 2 is memory */
  *mhz = clock == 2 ? (is_loaded() ? 14001 : 405) : is_loaded() ? (warmth(card) >= 90 ? 1200 : 2700) : 180;
  return SUCCESS;
}

int nvmlDeviceGetMaxClockInfo(const Card *card, int clock, unsigned int *mhz) {
  if (is_lost(card)) return GPU_IS_LOST;
  *mhz = clock == 2 ? 14001 : 3090;
  return SUCCESS;
}

int nvmlDeviceGetPowerUsage(const Card *card, unsigned int *milliwatts) {
  if (is_lost(card)) return GPU_IS_LOST;
  if (card->shared) return NOT_SUPPORTED;
  *milliwatts = is_loaded() ? card->limit_mw - 2000 : 14000;
  return SUCCESS;
}

/* Each question comes a second after the one before, as long as the card's step: what it draws in that. */
int nvmlDeviceGetTotalEnergyConsumption(const Card *card, unsigned long long *millijoules) {
  if (is_lost(card)) return GPU_IS_LOST;
  if (card->shared) return NOT_SUPPORTED;
  *millijoules = (unsigned long long)steps[place(card)] * (is_loaded() ? card->limit_mw - 2000 : 14000);
  return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(const Card *card, unsigned int *milliwatts) {
  if (is_lost(card)) return GPU_IS_LOST;
  if (card->shared) return NOT_SUPPORTED;
  *milliwatts = card->limit_mw;
  return SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(const Card *card, unsigned long long *reasons) {
  if (is_lost(card)) return GPU_IS_LOST;
  *reasons = is_loaded() ? 0x4 : 0x1; /* power cap, or idle */
  if (warmth(card) >= 90) *reasons |= 0x8 | 0x40; /* slowed by the hardware, for heat */
  *reasons |= worlds[place(card)].slowed;
  if (does("brake") && place(card) == 1 && steps[1] == 5) *reasons |= 0x8 | 0x80; /* and for power */
  return SUCCESS;
}

int nvmlDeviceGetFanSpeed(const Card *card, unsigned int *percent) {
  if (is_lost(card)) return GPU_IS_LOST;
  *percent = is_loaded() ? 60 : 0;
  return SUCCESS;
}

int nvmlDeviceGetPersistenceMode(const Card *card, int *mode) {
  if (is_lost(card)) return GPU_IS_LOST;
  *mode = 1;
  return SUCCESS;
}

int nvmlDeviceGetPcieReplayCounter(const Card *card, unsigned int *replays) {
  if (is_lost(card)) return GPU_IS_LOST;
  *replays = 0;
  return SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(const Card *card, int type, int counter, unsigned long long *errors) {
  (void)counter;
  if (is_lost(card)) return GPU_IS_LOST;
  if (worlds[place(card)].ecc < 0 || type != 1) return NOT_SUPPORTED; /* 1 is uncorrected */
  *errors = (unsigned long long)worlds[place(card)].ecc;
  return SUCCESS;
}

typedef struct {
  const Card *card;
  unsigned long long type, data;
  unsigned int gpu_instance, compute_instance;
} Event;

static unsigned int given[2];  /* XIDs of each card that were given, or came before its registration */
static int registered[2];

int nvmlEventSetCreate(int **set) {
  *set = registered;
  registered[0] = registered[1] = 0;
  return SUCCESS;
}

int nvmlEventSetFree(int *set) {
  (void)set;
  return SUCCESS;
}

int nvmlDeviceRegisterEvents(const Card *card, unsigned long long types, int *set) {
  if (is_lost(card)) return GPU_IS_LOST;
  if (card->shared || types != 8) return NOT_SUPPORTED; /* 8 is a critical XID */
  set[place(card)] = 1;
  given[place(card)] = worlds[place(card)].xids;
  return SUCCESS;
}

int nvmlEventSetWait_v2(int *set, Event *event, unsigned int milliseconds) {
  (void)milliseconds;
  look();
  for (unsigned int card = 0; card < machine()->count; card++) {
    if (!set[card] || worlds[card].xids <= given[card]) continue;
    given[card]++;
    *event = (Event){&machine()->cards[card], 8, worlds[card].xid, ~0u, ~0u};
    return SUCCESS;
  }
  return TIMEOUT;
}

typedef struct {
  unsigned int pid;
  unsigned long long used;
  unsigned int gpu_instance, compute_instance;
} Process;

static int list_processes(const Card *card, char kind, unsigned int *count, Process *processes) {
  const World *world = &worlds[place(card)];
  unsigned int listed = 0, room = *count;
  if (is_lost(card)) return GPU_IS_LOST;
  if (nolists || card->shared) return NOT_SUPPORTED;
  for (int i = 0; i < world->count; i++) {
    const Running *running = &world->running[i];
    if (running->kind != kind && running->kind != 'B') continue;
    if (processes && listed < room)
      processes[listed] = (Process){running->pid, running->mib < 0 ? ~0ULL : (unsigned long long)running->mib * MIB, ~0u, ~0u};
    listed++;
  }
  *count = listed;
  return listed > room || (listed && !processes) ? INSUFFICIENT_SIZE : SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(const Card *card, unsigned int *count, Process *processes) {
  return list_processes(card, 'C', count, processes);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(const Card *card, unsigned int *count, Process *processes) {
  return list_processes(card, 'G', count, processes);
}

typedef struct {
  unsigned int pid;
  unsigned long long stamp;
  unsigned int sm, memory, encoder, decoder;
} Share;

int nvmlDeviceGetProcessUtilization(const Card *card, Share *shares, unsigned int *count, unsigned long long since) {
  static unsigned long long now; /* microseconds; each question is one step later */
  const World *world = &worlds[place(card)];
  unsigned int listed = 0;
  if (is_lost(card)) return GPU_IS_LOST;
  if (nolists || card->shared) return NOT_SUPPORTED;
  if (!shares) now = (now > since ? now : since) + 1000000;
  for (int i = 0; i < world->count; i++) {
    if (!world->running[i].percent) continue;
    if (shares && listed < *count)
      shares[listed] = (Share){world->running[i].pid, now, world->running[i].percent, 0, 0, 0};
    listed++;
  }
  if (!listed) return NOT_FOUND;
  *count = listed;
  return shares ? SUCCESS : INSUFFICIENT_SIZE;
}
