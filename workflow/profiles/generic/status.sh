#!/bin/sh
# What Snakemake wants to hear of a job: running, success or failed.
record=$(scontrol --oneliner show job "$1") || exit 1
case $(echo "$record" | sed -n 's/.* JobState=\([A-Z_]*\).*/\1/p') in
COMPLETED) echo success ;;
CONFIGURING | COMPLETING | PENDING | REQUEUED | RUNNING | SUSPENDED) echo running ;;
*) echo failed ;;
esac
