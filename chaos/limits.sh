# A job of the trial of limits: limits.sh QUEUE KEY NAME SECONDS
#
# Lines of the log, each in one write to the end of the file, so their order is the order in time:
#   S queue key name attempt uptime   it starts
#   E queue key name attempt uptime   it ends
# The uptime is in seconds, on the clock since boot, which nobody can set.
cd "$CHAOS_PLACE" || exit 99
now() {
    if [ -r /proc/uptime ]; then
        read -r uptime _ </proc/uptime
    else
        uptime=$(date +%s)
    fi
}
now
echo "S $1 $2 $3 $QUEUECTL_ATTEMPT $uptime" >>log
sleep "$4"
now
echo "E $1 $2 $3 $QUEUECTL_ATTEMPT $uptime" >>log
