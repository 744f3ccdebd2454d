/* proc/worker_main.h - posternd in the role of a worker; does not return. */
#ifndef PROC_WORKER_MAIN_H
#define PROC_WORKER_MAIN_H

int worker_main(int argc, char **argv);

#endif
