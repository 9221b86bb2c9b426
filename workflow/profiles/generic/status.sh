#!/bin/sh
# What Snakemake wants to hear of a job: running, success or failed.
if ! record=$(scontrol --oneliner show job "$1" 2>&1); then
	case $record in
	*"Invalid job id"*) echo failed ;;
	*) echo running ;; # the controller does not answer: ask again later
	esac
	exit
fi
case $(echo "$record" | sed -n 's/.* JobState=\([A-Z_]*\).*/\1/p') in
COMPLETED) echo success ;;
CONFIGURING | COMPLETING | PENDING | REQUEUED | RUNNING | SUSPENDED) echo running ;;
*) echo failed ;;
esac
