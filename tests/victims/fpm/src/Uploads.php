<?php
declare(strict_types=1);

class Uploads
{
    public static function store(): string
    {
        $to = DATA . '/uploads/' . basename($_FILES['file']['name']);
        return move_uploaded_file($_FILES['file']['tmp_name'], $to) ? $to : 'refused';
    }
}
