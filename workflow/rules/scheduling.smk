# Snakemake 9.27 starts a timer in each pass of its loop, and the timer's end starts the next pass: one
# more endless chain with each finished job, until the loop takes a core. One timer at a time does the same.
import threading


onstart:
    pending, scheduler = [], workflow.scheduler

    def schedule_pass(delay):
        def end():
            pending.clear()
            scheduler._open_jobs.release()

        if not pending:
            pending.append(threading.Timer(delay, end))
            pending[0].start()

    scheduler._schedule_reevalutation = schedule_pass
