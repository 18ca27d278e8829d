for _ in 1 2 3 4; do
  (exec -a attack-left sleep 1000) &
  kill -STOP $!
done
echo held
