<form method="post" action="/login">
<input name="user"> <input name="password" type="password"> <button>Log in</button></form>
