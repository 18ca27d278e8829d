truncate -s 60M sparse
echo held
