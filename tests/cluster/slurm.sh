#!/usr/bin/env bash
# Runs a command beside a real Slurm of two nodes: tests/cluster/slurm.sh COMMAND...
# Needs root on Debian. Slurm's configuration, munge's socket and all daemons live in private
# mount and process namespaces: the machine's own are left alone, and none of them can outlive
# this script, however it ends. A node is a slurmd in a process namespace of its own: to kill the
# namespace's first process, whose id is in $SLURM_NODES/<node>.pid, ends all that runs on the node.
set -euo pipefail

if [ "${1-}" != --inside ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "tests/cluster: a real Slurm needs root on Debian or Ubuntu (apt-get)" >&2
		exit 1
	fi
	if ! which slurmctld slurmd srun munged rsync >/dev/null; then
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends \
			slurmctld slurmd slurm-client munge rsync >/dev/null
	fi
	exec unshare --mount --pid --fork --mount-proc --kill-child "$0" --inside "$@"
fi
shift

mkdir -p /etc/slurm /run/munge
mount -t tmpfs tmpfs /etc/slurm
mount -t tmpfs tmpfs /run/munge
scratch=/etc/slurm/scratch
mkdir -p "$scratch"/state
chown munge: /run/munge
chmod 755 /run/munge

read -r controller one two < <(python3 -c '
import socket
ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(port.getsockname()[1] for port in ports))')
cat >/etc/slurm/slurm.conf <<END
ClusterName=test
SlurmctldHost=localhost
SlurmctldPort=$controller
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# How long a job that lost its node must wait, at least, before it begins again.
AuthInfo=cred_expire=10
StateSaveLocation=$scratch/state
SlurmdSpoolDir=$scratch/spool-%n
SlurmctldPidFile=$scratch/slurmctld.pid
SlurmdPidFile=$scratch/slurmd-%n.pid
SlurmctldLogFile=$scratch/slurmctld.log
SlurmdLogFile=$scratch/slurmd-%n.log
JobCompType=jobcomp/filetxt
JobCompLoc=$scratch/completed.txt
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
GresTypes=gpu
SlurmdParameters=config_overrides
EnforcePartLimits=ALL
MinJobAge=600
KillWait=5
# Silent for so long, a node is taken for lost.
SlurmdTimeout=15
NodeName=DEFAULT CPUs=4 RealMemory=16000 Gres=gpu:4
NodeName=one NodeHostname=localhost NodeAddr=127.0.0.1 Port=$one State=UNKNOWN
NodeName=two NodeHostname=localhost NodeAddr=127.0.0.1 Port=$two State=UNKNOWN
# LLN: the node with the least to do is given the next job.
PartitionName=all Nodes=ALL Default=YES LLN=YES MaxTime=240 DefaultTime=10 DefMemPerCPU=100 State=UP
END
# Not GPUs, but Slurm counts, allocates and hands out whatever files are named here.
for device in null zero full urandom; do
	echo "NodeName=one,two Name=gpu File=/dev/$device"
done >/etc/slurm/gres.conf

runuser -u munge -- munged
slurmctld -c
for node in one two; do
	mkdir "$scratch/spool-$node"
	unshare --pid --fork --mount-proc --kill-child slurmd -D -N $node &>/dev/null &
	until pgrep --parent $! >"$scratch/$node.pid"; do sleep 0.1; done
done
for _ in {1..15}; do
	timeout 4 srun -t1 --mem=50 --nodes=2 true 2>/dev/null && break
	sleep 1
done
timeout 4 srun -t1 --mem=50 --nodes=2 true || { tail -n 20 "$scratch"/*.log >&2 && exit 1; }

SLURM_COMPLETED=$scratch/completed.txt SLURM_NODES=$scratch "$@"
